"""Tests of knowledge services: retriever, chat model and lists."""
