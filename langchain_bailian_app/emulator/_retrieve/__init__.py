"""The emulator's routes of knowledge bases."""
