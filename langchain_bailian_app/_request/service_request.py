"""Request to any route of the service, without base URL or key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ServiceRequest:
    """One request to the service."""

    path: str
    """Path below the base URL."""

    body: dict[str, Any] | None = field(default=None, repr=False)
    """JSON body; it may contain user tokens and signed URLs, so that `repr` omits it."""

    stream: bool = False
    """True to request a streamed response."""

    method: str = "POST"
    params: dict[str, str] | None = None
    """Query parameters of the URL."""
