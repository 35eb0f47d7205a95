"""HTTP server of the emulator: routing, requests, responses and their encoding."""
