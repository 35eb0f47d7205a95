"""Checks of undocumented behavior of the live service: `make live`, with your own API key."""
