"""A request to any route of the service, before it has an address and a key."""

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
    """Whether the reply is to come as a stream."""

    method: str = "POST"
    params: dict[str, str] | None = None
    """What stands behind the `?` of the URL."""
