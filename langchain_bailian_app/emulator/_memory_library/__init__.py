"""Emulation of memory libraries, 长期记忆（新）."""
