"""HTTP transport of requests: clients, retries, timeouts, credentials and error codes."""
