"""State of the emulator: sessions, memories and session files."""
