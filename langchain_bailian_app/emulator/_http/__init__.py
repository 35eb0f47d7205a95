"""The emulator's HTTP server: routing, requests, replies and their bytes."""
