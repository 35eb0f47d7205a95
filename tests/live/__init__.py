"""Questions to the live service that no document answers: `make live`, with a key of your own."""
