"""Tests of `emulator._knowledge`."""
