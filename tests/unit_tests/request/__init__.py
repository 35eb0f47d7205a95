"""Tests for `_request`."""
