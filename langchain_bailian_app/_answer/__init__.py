"""Parsers that turn the bytes of a response into events and a complete answer, without I/O."""
