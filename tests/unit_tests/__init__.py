"""Pure modules, no sockets."""
