"""Tests of `documentation`."""
