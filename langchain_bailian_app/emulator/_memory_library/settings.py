"""Switches for what no source settles about memory libraries, their quotas, and faults."""

from dataclasses import dataclass, field
from typing import Literal

from langchain_bailian_app.emulator._http.errors import ErrorReply

OPERATIONS = (
    "AddMemory",
    "AddMemoryAsync",
    "GetEvent",
    "SearchMemory",
    "ListMemory",
    "GetMemoryNode",
    "UpdateMemory",
    "DeleteMemory",
    "GetSkillExport",
    "CreateProfileSchema",
    "ListProfileSchemas",
    "GetProfileSchema",
    "UpdateProfileSchema",
    "DeleteProfileSchema",
    "GetUserProfile",
    "DeleteEntity",
)
"""Names of the operations, as in the documentation."""


@dataclass
class MemoryLibrarySettings:
    """Behavior of the routes under `/api/v2/apps/memory`, which any thread can change."""

    legacy_search: bool = False
    """Whether `POST /search`, which one page shows, is another path of a search. Default: False, it is
    answered with 404."""

    sync_fields: Literal["accept", "refuse"] = "accept"
    """Whether `/add` accepts tool messages and `project_ids`. Default: it does."""

    extract_delay: float = 0.0
    """Seconds until an extraction ends; each further entry of an event takes a tenth longer. 30 seconds
    were recorded. Default: 0, an event has ended when it is first queried."""

    index_lag: float = 0.0
    """Seconds until a search finds a new node. Default: 0."""

    expiry: Literal["never", "by_rule"] = "never"
    """Whether nodes of a rule with `expired_in_days` are no longer searched and listed after that time.
    Default: they do not expire."""

    type_alias: Literal["plural", "singular"] = "plural"
    """Which of `memory_types` and `memory_type` counts if both are sent. Default: `memory_types`."""

    page_max: int = 100
    """Maximum `page_size`; a larger one is rejected. Default: 100, the largest recorded value."""

    node_404_code: str = "NotFound"
    """Code of the error for an id that never existed. Default: `NotFound`."""

    calls_per_minute: int | None = None
    """Maximum number of calls of all kinds per minute; the service allows 3000. Default: no limit."""

    adds_per_minute: int | None = None
    """Maximum number of adds per minute; the service allows 120. Default: no limit."""

    searches_per_minute: int | None = None
    """Maximum number of searches per minute; the service allows 300. Default: no limit."""

    quota_code: str = "Throttling.RateQuota"
    """Code of the error 429 for an exceeded quota, which no page states. Default:
    `Throttling.RateQuota`."""


@dataclass
class MemoryLibraryFaults:
    """Faults of the routes, by operation in `OPERATIONS`; any thread can change them."""

    errors: dict[str, ErrorReply] = field(default_factory=dict)
    """Operation → error reply; nothing is run."""

    lost_replies: dict[str, int] = field(default_factory=dict)
    """Operation → number of requests that are run, but whose reply is lost."""

    entry_statuses: dict[str, str] = field(default_factory=dict)
    """`resource_type` of an event's entry → the status with which it ends, `FAILED` or `UNRECORDED`,
    without a result."""

    def take_lost_reply(self, operation: str) -> bool:
        """Return whether the reply to this request is lost, and count it."""
        remaining = self.lost_replies.get(operation, 0)
        if remaining:
            self.lost_replies[operation] = remaining - 1
        return remaining > 0
