"""Tests for `_settings`."""
