"""Requests to the service, built from messages and options. Does no I/O."""
