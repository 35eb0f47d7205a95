"""Tests of `retrievers`."""
