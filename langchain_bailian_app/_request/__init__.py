"""Requests to the service, built from messages and options without I/O."""
