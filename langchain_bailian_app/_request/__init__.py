"""Requests to the service: messages and options in, request bodies out. Does no I/O."""
