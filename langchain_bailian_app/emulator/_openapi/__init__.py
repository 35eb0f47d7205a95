"""OpenAPI of the emulator: session files and long-term memory."""
