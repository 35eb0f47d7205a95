"""URLs of private files, which are sent with their signature and shown without it."""

from __future__ import annotations

from typing import Any

_MAX_URL_CHARS = 100  # a data URL may be megabytes long


class SignedUrl(str):
    """A URL whose `repr` does not show its signature."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(redact_url(self))


def redact_url(url: str) -> str:
    """Return a URL without its query, truncated for display."""
    return url.partition("?")[0][:_MAX_URL_CHARS]


def redact(value: Any) -> Any:
    """Return a value with all signed URLs redacted."""
    if isinstance(value, SignedUrl):
        return redact_url(value)
    if isinstance(value, dict):
        return {name: redact(item) for name, item in value.items()}
    if isinstance(value, list):
        return [redact(item) for item in value]
    return value
