"""Knowledge base routes of the emulator."""
