"""Tests for `_answer`."""
