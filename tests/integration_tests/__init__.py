"""Against the emulator, over loopback."""
