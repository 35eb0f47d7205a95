"""Memory libraries: their rules, nodes, events, profile schemas and profiles.

Extractions run when they are due, at the beginning of the next request.
"""

import itertools
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NoReturn

from langchain_bailian_app.emulator._http.errors import ErrorReply, RequestRefused
from langchain_bailian_app.emulator._memory_library.extraction import (
    extract_changes,
    extract_value,
    read_user_sentences,
)
from langchain_bailian_app.emulator._memory_library.settings import (
    MemoryLibraryFaults,
    MemoryLibrarySettings,
)

MemoryType = Literal["observation", "skill"]
DEFAULT_LIBRARY = "default-library"
SKILL_FIELDS = ("skill_name", "skill_description", "skill_tags")
"""Fields of a skill, which belong together."""

_SECONDS_PER_MINUTE, _SECONDS_PER_DAY = 60.0, 86_400.0
_DEFAULT_EXPIRY_DAYS = 180  # recorded for the default rule
_FURTHER_ENTRY_DELAY = 0.1


@dataclass
class StoredProject:
    """A rule of a library; `expired_in_days` is None for nodes that do not expire."""

    project_id: str
    memory_type: MemoryType = "observation"
    expired_in_days: int | None = _DEFAULT_EXPIRY_DAYS


@dataclass
class StoredNode:
    """A memory node; `created` is the time of the emulator's clock, the others are Unix times."""

    node_id: str
    library_id: str
    project: StoredProject
    user_id: str
    content: str
    timestamp: int
    created_at: int
    updated_at: int
    created: float
    meta_data: dict[str, Any] = field(default_factory=dict)
    skill: dict[str, Any] | None = None
    status: str = "valid"


@dataclass
class StoredAttribute:
    """An attribute of a profile schema."""

    attribute_id: str
    name: str
    description: str | None = None
    default_value: str | None = None
    immutable: bool | None = None


@dataclass
class StoredSchema:
    """A profile schema, and the value items of each user by attribute id."""

    schema_id: str
    library_id: str
    name: str
    description: str
    plan_version: str
    extract_scene: str
    attributes: list[StoredAttribute]
    values: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)


@dataclass
class AddJob:
    """The work of one add for one rule or one schema."""

    event_id: str
    library_id: str
    user_id: str
    resource_type: str
    resource_id: str
    project: StoredProject | None
    schema: StoredSchema | None
    body: Mapping[str, Any]
    created_at: int
    updated_at: int
    due: float
    status: str = "PENDING"
    result: list[dict[str, Any]] = field(default_factory=list)


class MemoryLibraryStore:
    """All memory libraries of the account, their settings and faults."""

    def __init__(self, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        self.settings = MemoryLibrarySettings()
        """Switches, delays and quotas."""
        self.faults = MemoryLibraryFaults()
        """Faults of the routes."""
        self.projects: dict[str, dict[str, StoredProject]] = {}
        """Rules by library id and by their own id; the first of each library is the default rule."""
        self.nodes: dict[str, StoredNode] = {}
        """Nodes by id, oldest first, also those that were deleted."""
        self.schemas: dict[str, StoredSchema] = {}
        """Profile schemas by id."""
        self._jobs: dict[str, list[AddJob]] = {}
        self._unfinished_jobs: list[AddJob] = []
        self._nodes_by_user: dict[str, list[StoredNode]] = {}
        self._calls: dict[str, deque[float]] = {}
        self._clock = clock
        self._now = now
        self._item_ids = itertools.count(1)
        self.add_library(DEFAULT_LIBRARY)

    def clear(self) -> None:
        """Delete all nodes, events, schemas and profiles; keep libraries, rules and settings."""
        self.nodes.clear()
        self.schemas.clear()
        self._jobs.clear()
        self._unfinished_jobs.clear()
        self._nodes_by_user.clear()
        self._calls.clear()

    def add_library(self, library_id: str) -> str:
        """Add a library with its default rule, as in the console, and return its id."""
        self.projects[library_id] = {}
        self.add_project(f"{library_id}-rule", library_id=library_id)
        return library_id

    def add_project(
        self,
        project_id: str,
        memory_type: MemoryType = "observation",
        *,
        library_id: str = DEFAULT_LIBRARY,
        expired_in_days: int | None = _DEFAULT_EXPIRY_DAYS,
    ) -> str:
        """Add a rule to a library, as in the console, and return its id."""
        project = StoredProject(project_id, memory_type, expired_in_days)
        self.projects[library_id][project_id] = project
        return project_id

    def unix_time(self) -> int:
        """Return the current time in seconds since 1970."""
        return int(self._now().timestamp())

    def is_within_quota(self, kind: str, limit: int | None) -> bool:
        """Count a call of a kind; return False if it exceeds the limit per minute."""
        calls, now = self._calls.setdefault(kind, deque()), self._clock()
        while calls and calls[0] <= now - _SECONDS_PER_MINUTE:
            calls.popleft()
        if limit is not None and len(calls) >= limit:
            return False
        calls.append(now)
        return True

    # -- rules and nodes ---------------------------------------------------------------------------

    def find_library(self, library_id: str | None) -> str:
        """Return the id of a library, or that of the default library."""
        library_id = library_id or DEFAULT_LIBRARY
        if library_id not in self.projects:
            self.refuse_unknown(f"The memory library {library_id} does not exist.")
        return library_id

    def find_projects(self, library_id: str, project_ids: Sequence[str]) -> list[StoredProject]:
        """Return the rules with these ids, or the default rule."""
        projects = self.projects[library_id]
        for project_id in project_ids:
            if project_id not in projects:
                self.refuse_unknown(f"The project {project_id} does not exist.")
        return [projects[project_id] for project_id in project_ids or list(projects)[:1]]

    def find_node(self, node_id: str, library_id: str | None = None) -> StoredNode:
        """Return a node, also one that was deleted; with a library id, only one of this library."""
        node = self.nodes.get(node_id)
        if node is None or (library_id is not None and node.library_id != library_id):
            self.refuse_unknown(f"The memory node {node_id} does not exist.")
        return node

    def find_schema(self, schema_id: str, library_id: str) -> StoredSchema:
        """Return a profile schema of a library."""
        schema = self.schemas.get(schema_id)
        if schema is None or schema.library_id != library_id:
            self.refuse_unknown(f"The profile schema {schema_id} does not exist.")
        return schema

    def refuse_unknown(self, message: str) -> NoReturn:
        """Reject a request for something that does not exist."""
        raise RequestRefused(ErrorReply(404, self.settings.node_404_code, message))

    def visible_nodes(
        self, library_id: str, user_id: str, projects: Sequence[StoredProject], *, lag: float = 0.0
    ) -> list[StoredNode]:
        """Return the nodes that a search or a list can show, oldest first."""
        now = self._clock()
        return [
            node
            for node in self._nodes_by_user.get(user_id, ())
            if (node.library_id, node.status) == (library_id, "valid")
            and node.project in projects
            and now >= node.created + lag
            and not self._has_expired(node, now)
        ]

    def _has_expired(self, node: StoredNode, now: float) -> bool:
        days = node.project.expired_in_days
        if self.settings.expiry == "never" or days is None:
            return False
        return now >= node.created + days * _SECONDS_PER_DAY

    def delete_user(self, user_id: str) -> bool:
        """Mark all nodes of a user as deleted; return False if there are none."""
        nodes = [node for node in self._nodes_by_user.get(user_id, ()) if node.status == "valid"]
        for node in nodes:
            node.status = "delete"
        return bool(nodes)

    # -- adding ------------------------------------------------------------------------------------

    def start_jobs(
        self,
        body: Mapping[str, Any],
        library_id: str,
        projects: Sequence[StoredProject],
        schema: StoredSchema | None,
        *,
        delay: float,
    ) -> list[AddJob]:
        """Register the jobs of an add; the next `run_due_jobs` runs those that are due."""
        prefix = "custom_" if body.get("custom_content") else ""
        resources: list[tuple[str, str, StoredProject | None, StoredSchema | None]] = [
            (f"{prefix}{project.memory_type}", project.project_id, project, None)
            for project in projects
        ]
        if schema is not None:
            resources.append(("user_profile", schema.schema_id, None, schema))
        event_id, now, clock = uuid.uuid4().hex, self.unix_time(), self._clock()
        jobs = [
            AddJob(
                event_id=event_id,
                library_id=library_id,
                user_id=body["user_id"],
                resource_type=resource_type,
                resource_id=resource_id,
                project=project,
                schema=schema_of_job,
                body=body,
                created_at=now,
                updated_at=now,
                due=clock + delay * (1 + number * _FURTHER_ENTRY_DELAY),
            )
            for number, (resource_type, resource_id, project, schema_of_job) in enumerate(resources)
        ]
        self._jobs[event_id] = jobs
        self._unfinished_jobs += jobs
        return jobs

    def find_jobs(self, event_id: str) -> list[AddJob]:
        """Return the jobs of an event."""
        if event_id not in self._jobs:
            self.refuse_unknown(f"The event {event_id} does not exist.")
        return self._jobs[event_id]

    def run_due_jobs(self) -> None:
        """Run the jobs that are due, in the order of their due times."""
        now = self._clock()
        for job in sorted(self._unfinished_jobs, key=lambda job: job.due):
            job.status = "RUNNING"
            if job.due > now:
                continue
            self._unfinished_jobs.remove(job)
            job.status = self.faults.entry_statuses.get(job.resource_type, "SUCCEEDED")
            job.updated_at = self.unix_time()
            if job.status == "SUCCEEDED":
                job.result = self._run(job)

    def _run(self, job: AddJob) -> list[dict[str, Any]]:
        if job.schema is not None:
            return self._extract_profile(job, job.schema)
        if job.body.get("custom_content"):
            return [self._add_node(job, job.body["custom_content"])]
        if job.project is not None and job.project.memory_type == "skill":
            return self._extract_skill(job)
        return self._extract_facts(job)

    def _extract_facts(self, job: AddJob) -> list[dict[str, Any]]:
        projects = [job.project] if job.project is not None else []
        nodes = {
            node.content: node for node in self.visible_nodes(job.library_id, job.user_id, projects)
        }
        changes = extract_changes(job.body["messages"], list(nodes))
        results = [self._add_node(job, fact) for fact in changes.added]
        for old, new in changes.replaced.items():
            node = nodes[old]
            node.content, node.updated_at = new, self.unix_time()
            results.append(_describe_change("UPDATE", node) | {"old_content": old})
        for fact in changes.deleted:
            nodes[fact].status = "delete"
            results.append(_describe_change("DELETE", nodes[fact]))
        return results

    def _extract_skill(self, job: AddJob) -> list[dict[str, Any]]:
        """Store the tool calls of a conversation as the steps of a skill."""
        names = [
            call.get("function", {}).get("name", "")
            for message in job.body["messages"]
            for call in message.get("tool_calls") or ()
        ]
        if not names:
            return []
        title = next(iter(read_user_sentences(job.body["messages"])), names[0])
        skill = {"skill_name": title[:32], "skill_description": title, "skill_tags": names}
        return [self._add_node(job, "\n".join(names), skill)]

    def _add_node(
        self, job: AddJob, content: str, skill: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        assert job.project is not None  # noqa: S101 - a job for a profile adds no node
        now = self.unix_time()
        if job.project.memory_type == "skill" and skill is None:
            skill = {name: job.body[name] for name in SKILL_FIELDS}
        node = StoredNode(
            node_id=uuid.uuid4().hex,
            library_id=job.library_id,
            project=job.project,
            user_id=job.user_id,
            content=content,
            timestamp=job.body.get("timestamp") or now,
            created_at=now,
            updated_at=now,
            created=self._clock(),
            meta_data=dict(job.body.get("meta_data") or {}),
            skill=skill,
        )
        self.nodes[node.node_id] = node
        self._nodes_by_user.setdefault(node.user_id, []).append(node)
        return _describe_change("ADD", node)

    def _extract_profile(self, job: AddJob, schema: StoredSchema) -> list[dict[str, Any]]:
        results = []
        messages = job.body.get("messages") or [{"role": "user", "content": job.body["custom_content"]}]
        for attribute in schema.attributes:
            value = None if attribute.immutable else extract_value(messages, attribute.name)
            items = schema.values.setdefault(job.user_id, {}).setdefault(attribute.attribute_id, [])
            if value is None or any(item["value"] == value for item in items):
                continue
            items.append({"item_id": next(self._item_ids), "status": "valid", "value": value})
            results.append(
                {
                    "memory_type": "user_profile",
                    "content": value,
                    "event": "ADD",
                    "name": attribute.name,
                }
            )
        return results


def _describe_change(event: str, node: StoredNode) -> dict[str, Any]:
    return {
        "memory_type": node.project.memory_type,
        "content": node.content,
        "event": event,
        "memory_node_id": node.node_id,
    }
