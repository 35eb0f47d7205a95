"""Unit tests, without sockets."""
