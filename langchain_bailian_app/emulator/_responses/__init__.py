"""Responses route of applications: background runs."""
