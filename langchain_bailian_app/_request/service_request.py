"""Request to any route of the service, without base URL or key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

_V1_ROOT, _V2_ROOT = "/api/v1", "/api/v2"


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

    api_version: Literal["v1", "v2"] = "v1"
    """Version of the API that has the route. A base URL always ends in `/api/v1`."""

    retry_on: Literal["rejection", "throttling", "failure"] = "rejection"
    """Errors after which the request is sent again, besides those that prevent sending it.

    `rejection`: the service rejected it by a documented code (429 with a code of throttling, 503).
    `throttling`: any throttling with status 429 too, for routes that run nothing before they check
    their quota. `failure`: also a 5xx status and a lost connection, for requests that may run twice.
    """

    def find_root(self, base_url: str) -> str:
        """Return the URL to which `path` is relative, for a base URL that ends in `/api/v1`."""
        return base_url if self.api_version == "v1" else base_url.removesuffix(_V1_ROOT) + _V2_ROOT
