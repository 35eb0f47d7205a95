"""Tests of `options`."""
