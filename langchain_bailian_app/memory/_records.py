"""Results of `BailianMemoryLibrary`: nodes, changes, events, skills, profile schemas and profiles.

Times are in seconds since 1970. `extra` contains the fields of the service that have no attribute here,
and values of an undocumented type, under the names of the service.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Extra = Mapping[str, Any]

_SUCCEEDED = frozenset({"SUCCEEDED", "SUCCESS"})  # the second is accepted by an official client
_FAILED = frozenset({"FAILED", "UNRECORDED"})

PlanVersion = Literal["pro", "lite"]
ExtractScene = Literal["efficient", "intelligent"]


@dataclass(frozen=True, slots=True)
class LibraryNode:
    """A memory node (记忆片段) of a memory library: a fact about a user, or a skill."""

    id: str
    content: str
    """The fact. A skill begins with its name, description and tags; see `export_skill`."""

    memory_type: str | None = None
    """`observation` for a fact, or `skill`."""

    status: str | None = None
    """`valid`, or `delete` for a node that was deleted: it can still be read."""

    score: float | None = None
    """Similarity to the query, from 0 to 1; None unless the node was found by `search`."""

    project_id: str | None = None
    """Id of the rule (记忆规则) that extracted the node."""

    meta_data: Mapping[str, Any] = field(default_factory=dict)
    """Your own data from `add` and `update`. The service may add keys of its own."""

    timestamp: int | None = None
    """Time to which the fact refers."""

    created_at: int | None = None
    updated_at: int | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MemoryChange:
    """A change of a node, or of an attribute in a user's profile, as the result of an add."""

    event: str
    """`ADD`, `UPDATE` or `DELETE`."""

    content: str
    """The new content, or the content that was deleted."""

    node_id: str | None = None
    """Id of the node; None for a profile."""

    name: str | None = None
    """Name of the attribute; None for a node."""

    memory_type: str | None = None
    """Kind of the result, such as `observation`; None if the service does not report it (`add`)."""

    old_content: str | None = None
    """The content before an `UPDATE`, if the service reports it."""

    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AddResult:
    """Result of `add`."""

    changes: tuple[MemoryChange, ...]
    """The changed nodes, which may include older ones; empty if nothing was worth storing."""

    request_id: str | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Result of `search`."""

    nodes: tuple[LibraryNode, ...]
    """The nodes in the order of the service, the best first."""

    plan_version: str | None = None
    """The plan that was used and billed, `pro` or `lite`."""

    request_id: str | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MemoryEventEntry:
    """The work of an event for one rule or one profile schema."""

    resource_id: str | None
    """Id of the rule (project) or of the profile schema. It identifies the entry: the order of the
    entries differs from one response to the next."""

    resource_type: str | None
    """`observation`, `skill`, `user_profile`, `custom_observation` or `custom_skill`."""

    status: str
    """`PENDING`, `RUNNING`, `SUCCEEDED`, `FAILED` or `UNRECORDED`."""

    changes: tuple[MemoryChange, ...] = ()
    """What changed; empty until the entry has succeeded, and if it changed nothing."""

    event_type: str | None = None
    memory_library_id: str | None = None
    user_id: str | None = None
    created_at: int | None = None
    updated_at: int | None = None
    extra: Extra = field(default_factory=dict)

    @property
    def has_succeeded(self) -> bool:
        """Whether the work is done; it may have changed nothing."""
        return self.status in _SUCCEEDED

    @property
    def has_failed(self) -> bool:
        """Whether the status is `FAILED` or `UNRECORDED`. Their causes are not documented."""
        return self.status in _FAILED

    @property
    def has_ended(self) -> bool:
        """Whether the status is final."""
        return self.has_succeeded or self.has_failed


@dataclass(frozen=True, slots=True)
class MemoryEvent:
    """Background work that `submit` started."""

    id: str
    """Id for `get_event` and `wait_until_done`."""

    entries: tuple[MemoryEventEntry, ...]
    """One entry per rule and per profile schema; they end independently of each other."""

    request_id: str | None = None
    extra: Extra = field(default_factory=dict)

    @property
    def changes(self) -> tuple[MemoryChange, ...]:
        """The changes of all entries."""
        return tuple(change for entry in self.entries for change in entry.changes)


@dataclass(frozen=True, slots=True)
class MemorySkill:
    """A skill, with its name, description and tags as separate fields."""

    id: str
    """Id of the node."""

    name: str
    description: str
    tags: tuple[str, ...]
    content: str
    """The steps of the skill, without name, description and tags."""

    extra: Extra = field(default_factory=dict)
    """The other fields of the node."""


@dataclass(frozen=True, slots=True)
class ProfileAttribute:
    """An attribute of a profile schema."""

    name: str
    """1 to 32 characters. Names in a schema should differ in meaning."""

    description: str | None = None
    """At most 128 characters. It describes to the extracting model what to look for."""

    default_value: str | None = None
    """At most 128 characters; required if `immutable`."""

    immutable: bool | None = None
    """Whether the default value is kept. None: not set; the default of the service is False."""

    id: str | None = None
    """Id that the service assigned; None in a new schema."""

    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AttributeOperation:
    """A change of one attribute, for `update_profile_schema`."""

    op: Literal["add", "update", "delete"]

    attribute_id: str | None = None
    """Id of the attribute; required for `update` and `delete`."""

    name: str | None = None
    """The new name; required for `add`."""

    description: str | None = None
    default_value: str | None = None

    immutable: bool | None = None
    """Only for `add`."""


@dataclass(frozen=True, slots=True)
class ProfileSchema:
    """A profile schema (画像模板): the attributes that the service extracts about each user."""

    id: str
    name: str
    description: str = ""

    attributes: tuple[ProfileAttribute, ...] | None = None
    """None if the service did not send them, as in a list."""

    plan_version: str | None = None
    """`pro` or `lite`."""

    extract_scene: str | None = None
    """`efficient` or `intelligent`."""

    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProfileValueItem:
    """One of the values of an attribute."""

    id: int | None
    value: str
    status: str | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProfileValue:
    """The value of an attribute in the profile of a user."""

    id: str | None
    """Id of the attribute."""

    name: str

    value: str | None = None
    """Values joined with `"; "`; None if nothing was extracted, and with `need_detail`."""

    items: tuple[ProfileValueItem, ...] | None = None
    """The single values; None without `need_detail`."""

    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UserProfile:
    """The profile of a user: the values for the attributes of one schema."""

    schema_name: str
    schema_description: str

    attributes: tuple[ProfileValue, ...]
    """All attributes of the schema, also those without a value."""

    extra: Extra = field(default_factory=dict)
