"""HTTP transport for requests: clients, retries, timeouts, credentials and error codes."""
