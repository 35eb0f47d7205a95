"""URLs of private files, which carry a signature: sent as they are, shown without it."""

from __future__ import annotations

from typing import Any

_SHOWN = 100  # characters; a data URL has megabytes


class Signed(str):
    """A URL whose `repr` does not show what makes it secret."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(unsigned(self))


def unsigned(url: str) -> str:
    """Return what may be shown of a URL."""
    return url.partition("?")[0][:_SHOWN]


def shown(value: Any) -> Any:
    """Return a value without the signatures in it."""
    if isinstance(value, Signed):
        return unsigned(value)
    if isinstance(value, dict):
        return {name: shown(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shown(item) for item in value]
    return value
