"""Tests for `_transport`."""
