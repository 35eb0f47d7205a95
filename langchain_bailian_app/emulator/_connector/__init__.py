"""Emulation of the routes for session files that need only the API key."""
