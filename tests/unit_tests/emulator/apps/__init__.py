"""Tests of `emulator._apps`."""
