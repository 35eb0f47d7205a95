"""Tests of `chat_models`."""
