"""Emulation of Bailian's OpenAPI: session files and long-term memory."""
