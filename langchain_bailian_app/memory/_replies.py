"""Parsers of the responses to `BailianMemoryLibrary`.

Optional fields may be missing or null. A field without an attribute, or with a value of another type
than documented, is kept in `extra`. A response without its main field is an error: it could be taken
for an empty result.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from langchain_bailian_app._transport.workspace_client import WorkspaceReply
from langchain_bailian_app.errors import BailianRequestError, BailianServerError
from langchain_bailian_app.memory._records import (
    AddResult,
    LibraryNode,
    MemoryChange,
    MemoryEvent,
    MemoryEventEntry,
    MemorySkill,
    ProfileAttribute,
    ProfileSchema,
    ProfileValue,
    ProfileValueItem,
    SearchResult,
    UserProfile,
)

T = TypeVar("T")


class _Fields(dict[str, Any]):
    """Copy of a JSON object, from which the known fields are taken; the rest is `extra`."""

    def take(self, name: str, expected_type: type[T]) -> T | None:
        """Remove and return a field. Null and other types give None; the latter remain in `extra`."""
        value = self.get(name)
        if value is not None and not isinstance(value, expected_type):
            return None
        self.pop(name, None)
        return value

    def take_text(self, name: str) -> str:
        """Remove and return a text, or return an empty one."""
        return self.take(name, str) or ""

    def take_number(self, name: str) -> float | None:
        """Remove and return a number."""
        number = self.take(name, float)
        return self.take(name, int) if number is None else number


def parse_add(reply: WorkspaceReply) -> AddResult:
    """Return the result of an add.

    Raises:
        BailianServerError: The response has no list of nodes.
    """
    fields = _Fields(reply.fields)
    changes = _take_list(fields, "memory_nodes", _parse_change, reply)
    return AddResult(changes, reply.request_id, dict(fields))


def parse_search(reply: WorkspaceReply) -> SearchResult:
    """Return the result of a search.

    Raises:
        BailianServerError: The response has no list of nodes, or a node has no id.
    """
    fields = _Fields(reply.fields)
    nodes = _take_list(fields, "memory_nodes", lambda item: _parse_node(item, reply), reply)
    return SearchResult(nodes, fields.take("plan_version", str), reply.request_id, dict(fields))


def parse_node_page(reply: WorkspaceReply) -> tuple[tuple[LibraryNode, ...], int | None]:
    """Return the nodes of a page, and the total number of nodes if the response has it.

    Raises:
        BailianServerError: The response has no list of nodes, or a node has no id.
    """
    fields = _Fields(reply.fields)
    nodes = _take_list(fields, "memory_nodes", lambda item: _parse_node(item, reply), reply)
    return nodes, fields.take("total", int)


def parse_node(reply: WorkspaceReply) -> LibraryNode:
    """Return the node in a response.

    Raises:
        BailianServerError: The response has no node, or it has no id.
    """
    return _parse_node(
        _require(_Fields(reply.fields).take("memory_node", dict), "memory_node", reply), reply
    )


def parse_skill(reply: WorkspaceReply) -> MemorySkill:
    """Return the skill in a response.

    Raises:
        BailianRequestError: The node is not a skill.
        BailianServerError: The response has no node, or it has no id.
    """
    node = _require(_Fields(reply.fields).take("memory_node", dict), "memory_node", reply)
    fields = _Fields(node)
    node_id = _require(fields.take("memory_node_id", str), "memory_node_id", reply)
    name = fields.take("skill_name", str)
    if name is None:
        message = f"the node {node_id!r} is not a skill, but {fields.get('memory_type')!r}: use `get`"
        raise BailianRequestError(message, request_id=reply.request_id)
    return MemorySkill(
        id=node_id,
        name=name,
        description=fields.take_text("skill_description"),
        tags=tuple(map(str, fields.take("skill_tags", list) or ())),
        content=fields.take_text("content"),
        extra=dict(fields),
    )


def parse_event(reply: WorkspaceReply, event_id: str | None = None) -> MemoryEvent:
    """Return the event in a response.

    Args:
        reply: The response.
        event_id: Id of the event, if the response need not contain it.

    Raises:
        BailianServerError: The response has no id, or no list of entries.
    """
    fields = _Fields(reply.fields)
    event_id = _require(fields.take("event_id", str) or event_id, "event_id", reply)
    entries = _take_list(fields, "events", _parse_entry, reply)
    return MemoryEvent(event_id, entries, reply.request_id, dict(fields))


def parse_created_schema(reply: WorkspaceReply) -> str:
    """Return the id of a new schema.

    Raises:
        BailianServerError: The response has no id. The schema may exist.
    """
    return _require(_Fields(reply.fields).take("profile_schema_id", str), "profile_schema_id", reply)


def parse_schema_page(reply: WorkspaceReply) -> tuple[tuple[ProfileSchema, ...], int | None]:
    """Return the schemas of a page, and the total number of schemas if the response has it.

    Raises:
        BailianServerError: The response has no list of schemas, or one has no id.
    """
    fields = _Fields(reply.fields)

    def parse(item: Mapping[str, Any]) -> ProfileSchema:
        schema = _Fields(item)
        schema_id = schema.take("profile_schema_id", str)
        return _parse_schema(schema, _require(schema_id, "profile_schema_id", reply))

    return _take_list(fields, "profile_schemas", parse, reply), fields.take("total", int)


def parse_schema(reply: WorkspaceReply, schema_id: str) -> ProfileSchema:
    """Return the schema in a response.

    Raises:
        BailianServerError: The response has no name.
    """
    fields = _Fields(reply.fields)
    _require(fields.get("name"), "name", reply)
    fields.pop("profile_schema_id", None)
    return _parse_schema(fields, schema_id)


def parse_profile(reply: WorkspaceReply) -> UserProfile:
    """Return the profile in a response.

    Raises:
        BailianServerError: The response has no profile, or it has no list of attributes.
    """
    fields = _Fields(_require(_Fields(reply.fields).take("profile", dict), "profile", reply))
    attributes = _take_list(fields, "attributes", _parse_value, reply)
    return UserProfile(
        schema_name=fields.take_text("schema_name"),
        schema_description=fields.take_text("schema_description"),
        attributes=attributes,
        extra=dict(fields),
    )


def _parse_node(item: Mapping[str, Any], reply: WorkspaceReply) -> LibraryNode:
    fields = _Fields(item)
    return LibraryNode(
        id=_require(fields.take("memory_node_id", str), "memory_node_id", reply),
        content=fields.take_text("content"),
        memory_type=fields.take("memory_type", str),
        status=fields.take("status", str),
        score=fields.take_number("score"),
        project_id=fields.take("project_id", str),
        meta_data=fields.take("meta_data", dict) or {},
        timestamp=fields.take("timestamp", int),
        created_at=fields.take("created_at", int),
        updated_at=fields.take("updated_at", int),
        extra=dict(fields),
    )


def _parse_change(item: Mapping[str, Any]) -> MemoryChange:
    fields = _Fields(item)
    return MemoryChange(
        event=fields.take_text("event"),
        content=fields.take_text("content"),
        node_id=fields.take("memory_node_id", str),
        name=fields.take("name", str),
        memory_type=fields.take("memory_type", str),
        old_content=fields.take("old_content", str),
        extra=dict(fields),
    )


def _parse_entry(item: Mapping[str, Any]) -> MemoryEventEntry:
    fields = _Fields(item)
    fields.pop("event_id", None)  # that of the event
    result = fields.take("result", list) or []
    return MemoryEventEntry(
        resource_id=fields.take("resource_id", str),
        resource_type=fields.take("resource_type", str),
        status=fields.take_text("status"),
        changes=tuple(_parse_change(change) for change in result if isinstance(change, dict)),
        event_type=fields.take("event_type", str),
        memory_library_id=fields.take("memory_library_id", str),
        user_id=fields.take("user_id", str),
        created_at=fields.take("created_at", int),
        updated_at=fields.take("updated_at", int),
        extra=dict(fields),
    )


def _parse_schema(fields: _Fields, schema_id: str) -> ProfileSchema:
    attributes = fields.take("attributes", list)
    return ProfileSchema(
        id=schema_id,
        name=fields.take_text("name"),
        description=fields.take_text("description"),
        attributes=None
        if attributes is None
        else tuple(_parse_attribute(item) for item in attributes if isinstance(item, dict)),
        plan_version=fields.take("plan_version", str),
        extract_scene=fields.take("extract_scene", str),
        extra=dict(fields),
    )


def _parse_attribute(item: Mapping[str, Any]) -> ProfileAttribute:
    fields = _Fields(item)
    return ProfileAttribute(
        name=fields.take_text("name"),
        description=fields.take("description", str),
        default_value=fields.take("default_value", str),
        immutable=fields.take("immutable", bool),
        id=fields.take("attribute_id", str),
        extra=dict(fields),
    )


def _parse_value(item: Mapping[str, Any]) -> ProfileValue:
    fields = _Fields(item)
    items = fields.take("value_items", list)
    return ProfileValue(
        id=fields.take("id", str),
        name=fields.take_text("name"),
        value=fields.take("value", str),
        items=None
        if items is None
        else tuple(_parse_value_item(item) for item in items if isinstance(item, dict)),
        extra=dict(fields),
    )


def _parse_value_item(item: Mapping[str, Any]) -> ProfileValueItem:
    fields = _Fields(item)
    return ProfileValueItem(
        id=fields.take("item_id", int),
        value=fields.take_text("value"),
        status=fields.take("status", str),
        extra=dict(fields),
    )


def _take_list(
    fields: _Fields, name: str, parse: Callable[[Mapping[str, Any]], T], reply: WorkspaceReply
) -> tuple[T, ...]:
    items = _require(fields.take(name, list), name, reply)
    return tuple(
        parse(_require(item if isinstance(item, dict) else None, name, reply)) for item in items
    )


def _require(value: T | None, name: str, reply: WorkspaceReply) -> T:
    if value is None or value == "":
        message = f"the response does not contain a valid `{name}`"
        raise BailianServerError(message, request_id=reply.request_id)
    return value
