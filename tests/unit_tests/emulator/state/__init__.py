"""Tests of `emulator._state`."""
