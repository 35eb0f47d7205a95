"""Bodies in pieces, so that none holds up a loop, and a timeout is one for a piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 2**16  # bytes


def pieces_of(content: bytes) -> Iterator[bytes]:
    """Yield what is sent one after the other."""
    for start in range(0, len(content), _PIECE):
        yield content[start : start + _PIECE]
