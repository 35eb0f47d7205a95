"""Checks of the fields in requests to memory libraries. The texts of the messages are unverified."""

from collections.abc import Mapping
from typing import Any, NoReturn

from langchain_bailian_app.emulator._http.errors import refuse
from langchain_bailian_app.emulator._http.fields import get_int, get_object, get_strings, get_typed
from langchain_bailian_app.emulator._memory_library.store import (
    SKILL_FIELDS,
    StoredAttribute,
    StoredProject,
)

_MAX_USER_ID_CHARS, _MAX_CONTENT_CHARS = 64, 512
_MAX_NAME_CHARS, _MAX_TEXT_CHARS = 32, 128
_MAX_MESSAGES, _MAX_PROJECTS = 50, 5
_ROLES = ("user", "assistant", "tool")
_MEMORY_TYPES = ("observation", "skill")


def refuse_invalid(message: str) -> NoReturn:
    """Reject a request with `InvalidParameter`."""
    refuse("InvalidParameter", message)


def read_user_id(fields: Mapping[str, Any]) -> str:
    """Return the id of the user."""
    return _read_text(fields, "user_id", _MAX_USER_ID_CHARS)


def read_project_ids(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ids of the rules; none for the default rule."""
    project_id = get_typed(fields, "project_id", str)
    project_ids = get_strings(fields, "project_ids")
    if project_id and project_ids:
        refuse_invalid("project_id and project_ids are mutually exclusive.")
    if len(project_ids) > _MAX_PROJECTS:
        refuse_invalid(f"project_ids must have at most {_MAX_PROJECTS} items.")
    return (project_id,) if project_id else project_ids


def check_add(body: Mapping[str, Any]) -> None:
    """Check the fields of an add that need no rule or schema."""
    content, messages = get_typed(body, "custom_content", str), get_typed(body, "messages", list)
    if not content and not messages:
        refuse_invalid("messages or custom_content is required.")
    if content:
        read_content(body)
        if body.get("project_ids"):
            refuse_invalid("custom_content can only be bound to one project.")
    if messages:
        check_messages(messages)
    mode = body.get("extract_mode")
    if mode is not None and (mode != "profile_only" or not (messages and body.get("profile_schema"))):
        refuse_invalid("extract_mode profile_only requires messages and profile_schema.")
    get_object(body, "meta_data")
    get_typed(body, "timestamp", int)


def check_messages(messages: list[Any], *, maximum: int | None = _MAX_MESSAGES) -> None:
    """Check the messages of a request."""
    if maximum is not None and len(messages) > maximum:
        refuse_invalid(f"messages must have at most {maximum} items.")
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            refuse_invalid("The role of a message must be user, assistant or tool.")
        content = message.get("content")
        parts = content if isinstance(content, list) else ()
        if content is not None and not isinstance(content, str | list):
            refuse_invalid("The content of a message must be a string or an array.")
        if not all(
            isinstance(part, dict) and part.get("type") in ("text", "image_url") for part in parts
        ):
            refuse_invalid("The type of a content part must be text or image_url.")
        if message["role"] == "tool" and not message.get("tool_call_id"):
            refuse_invalid("tool_call_id is required.")


def has_tool_messages(body: Mapping[str, Any]) -> bool:
    """Return whether messages of an add contain tool calls or their results."""
    messages = body.get("messages") or ()
    return any(message["role"] == "tool" or message.get("tool_calls") for message in messages)


def check_skill(body: Mapping[str, Any], project: StoredProject) -> None:
    """Check that a text for a rule of skills has the fields of a skill."""
    if project.memory_type == "skill" and not all(body.get(name) for name in SKILL_FIELDS):
        refuse_invalid("skill_name, skill_description and skill_tags are required.")


def read_content(body: Mapping[str, Any]) -> str:
    """Return the text to store."""
    return _read_text(body, "custom_content", _MAX_CONTENT_CHARS)


def read_memory_types(body: Mapping[str, Any], *, singular_wins: bool) -> tuple[str, ...]:
    """Return the kinds of nodes to search."""
    plural = get_strings(body, "memory_types")
    singular = get_typed(body, "memory_type", str)
    types = (singular,) if singular and (singular_wins or not plural) else plural
    if not set(types) <= set(_MEMORY_TYPES):
        refuse_invalid("memory_types must be observation or skill.")
    return types or ("observation",)


def read_plan_version(body: Mapping[str, Any], *, default: str = "pro") -> str:
    """Return the plan in lower case; `enable_rerank` selects it if there is none."""
    if body.get("plan_version") is None:
        return "lite" if body.get("enable_rerank") is False else default
    plan = str(body["plan_version"]).lower()
    if plan not in {"pro", "lite"}:
        refuse_invalid("plan_version must be pro or lite.")
    return plan


def read_extract_scene(body: Mapping[str, Any], plan_version: str, default: str = "efficient") -> str:
    """Return the scene of a schema."""
    scene = body.get("extract_scene") or default
    if scene not in {"efficient", "intelligent"}:
        refuse_invalid("extract_scene must be efficient or intelligent.")
    if scene == "intelligent" and plan_version != "pro":
        refuse_invalid("extract_scene intelligent requires plan_version pro.")
    return str(scene)


def read_min_score(body: Mapping[str, Any]) -> float:
    """Return the minimum score."""
    value: object = body.get("min_score", 0.3)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        refuse_invalid("min_score must be in [0, 1].")
    return float(value)


def read_top_k(body: Mapping[str, Any]) -> int:
    """Return the maximum number of nodes."""
    return get_int(body, "top_k", minimum=1, maximum=100, default=10)


def read_page(query: Mapping[str, str], page_max: int) -> tuple[int, int]:
    """Return the number and the size of a page."""
    values = []
    for name, default in (("page_num", "1"), ("page_size", "10")):
        text = query.get(name, default)
        if not text.isdecimal() or not int(text):
            refuse_invalid(f"{name} must be a positive number.")
        values.append(int(text))
    if values[1] > page_max:
        refuse_invalid(f"page_size must be at most {page_max}.")
    return values[0], values[1]


def read_name(fields: Mapping[str, Any]) -> str:
    """Return the name of a schema or an attribute."""
    return _read_text(fields, "name", _MAX_NAME_CHARS)


def read_attribute(fields: Any, attribute_id: str) -> StoredAttribute:
    """Return a new attribute of a schema."""
    if not isinstance(fields, dict):
        refuse_invalid("An attribute must be an object.")
    attribute = StoredAttribute(attribute_id, read_name(fields))
    change_attribute(attribute, fields)
    attribute.immutable = get_typed(fields, "immutable", bool)
    if attribute.immutable and not attribute.default_value:
        refuse_invalid("default_value is required if immutable is true.")
    return attribute


def change_attribute(attribute: StoredAttribute, fields: Mapping[str, Any]) -> None:
    """Set the texts of an attribute that a request contains."""
    for name in ("description", "default_value"):
        text = get_typed(fields, name, str)
        if text is not None:
            if len(text) > _MAX_TEXT_CHARS:
                refuse_invalid(f"{name} must have at most {_MAX_TEXT_CHARS} characters.")
            setattr(attribute, name, text)


def _read_text(fields: Mapping[str, Any], name: str, maximum: int) -> str:
    text = get_typed(fields, name, str)
    if not text or len(text) > maximum:
        refuse_invalid(f"{name} must have 1 to {maximum} characters.")
    return text
