"""Parser of the observation of a step: the value that a tool returned."""

from __future__ import annotations

from typing import Any

from langchain_bailian_app._answer import wire_json

# From the specification of the Model Context Protocol.
_MCP_FIELDS = frozenset({"content", "isError", "structuredContent", "_meta"})
_MCP_PART_TYPES = ("text", "image", "audio", "resource", "resource_link")


def parse_observation(observation: Any) -> Any:
    """Return the value in an observation.

    JSON text is parsed. An MCP result is reduced to its content: the value of a single part, or a list
    of the values of all parts. The value of a text part is its text, parsed if it is JSON; the value of
    any other part is the part. Without content, the value is `structuredContent`.
    """
    value = wire_json.parse_nested(observation)
    if not _is_mcp_result(value):
        return value
    parts = [_parse_part(part) for part in value["content"]]
    if not parts:
        return value.get("structuredContent", value)
    return parts[0] if len(parts) == 1 else parts


def is_error_result(observation: Any) -> bool:
    """Return whether an observation is an MCP result with `isError`. No capture shows one."""
    if isinstance(observation, str) and "isError" not in observation:
        return False
    value = wire_json.parse_nested(observation)
    return isinstance(value, dict) and value.get("isError") in (True, "true")


def _is_mcp_result(value: Any) -> bool:
    """Return whether a value is an MCP result; other tools may return a field `content` too."""
    if not isinstance(value, dict) or not _MCP_FIELDS.issuperset(value):
        return False
    parts = value.get("content")
    return isinstance(parts, list) and all(
        isinstance(part, dict) and part.get("type") in _MCP_PART_TYPES for part in parts
    )


def _parse_part(part: dict[str, Any]) -> Any:
    is_text = part["type"] == "text" and isinstance(part.get("text"), str)
    return wire_json.parse_nested(part["text"]) if is_text else part
