"""The emulator's OpenAPI: session files and long-term memory."""
