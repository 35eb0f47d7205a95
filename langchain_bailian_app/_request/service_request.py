"""Request to any route of the service, without base URL or key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ServiceRequest:
    """One request to the service."""

    path: str
    """Path below the base URL."""

    body: dict[str, Any] | None = None
    stream: bool = False
    """True to request a streamed response."""

    method: str = "POST"
    params: dict[str, str] | None = None
    """Query parameters of the URL."""
