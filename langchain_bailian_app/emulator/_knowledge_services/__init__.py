"""Emulation of knowledge services: search, chat, and the lists of services and knowledge bases."""
