"""Applications of the emulator: their settings, scripts, answers and faults."""
