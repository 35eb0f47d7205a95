"""Tests of `answer`."""
