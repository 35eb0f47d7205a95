"""Requests on the wire: HTTP clients, retries, timeouts, credentials and error codes."""
