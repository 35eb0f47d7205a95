"""Tests of `emulator._completion`."""
