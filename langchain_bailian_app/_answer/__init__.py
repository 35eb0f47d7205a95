"""Answers of the service: bytes in, events and a whole answer out. Does no I/O."""
