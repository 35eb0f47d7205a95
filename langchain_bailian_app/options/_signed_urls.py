"""URLs of private files, which carry a signature: sent as they are, shown without it."""

from __future__ import annotations

from typing import Any

_MAX_URL_CHARS = 100  # a data URL has megabytes


class SignedUrl(str):
    """A URL whose `repr` does not show what makes it secret."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(redact_url(self))


def redact_url(url: str) -> str:
    """Return what may be shown of a URL."""
    return url.partition("?")[0][:_MAX_URL_CHARS]


def redact(value: Any) -> Any:
    """Return a value without the signatures in it."""
    if isinstance(value, SignedUrl):
        return redact_url(value)
    if isinstance(value, dict):
        return {name: redact(item) for name, item in value.items()}
    if isinstance(value, list):
        return [redact(item) for item in value]
    return value
