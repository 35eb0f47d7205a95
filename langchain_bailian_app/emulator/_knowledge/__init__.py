"""Knowledge bases of the emulator: documents, chunks and search."""
