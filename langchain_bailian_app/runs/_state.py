"""State of a background run: the parsed reply to a query.

The service's page shows replies of runs that are queued and completed. Where the details of a failure
are is not shown, so every place that a related route uses is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.answer import TEXT_SEPARATOR

RunStatus: TypeAlias = Literal["queued", "running", "completed", "failed", "cancelled"]
"""Status of a run. The last three are final."""

# The page of the route has `running`; OpenAI's protocol and the streams of this route have the others.
_STATUS_BY_WORD: dict[str, RunStatus] = {
    "queued": "queued",
    "running": "running",
    "in_progress": "running",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
    "canceled": "cancelled",
}
_FINAL = ("completed", "failed", "cancelled")
# Without `usage`, which no page shows: if it is sent, it is passed on with the unknown fields.
_KNOWN_FIELDS = {
    "background",
    "created_at",
    "id",
    "model",
    "object",
    "output",
    "parallel_tool_calls",
    "request_id",
    "status",
    "tool_choice",
    "tools",
}
_TEXT_PARTS = ("output_text", "reasoning_text", "summary_text")
_CODE_FIELDS = ("code", "errorCode", "error_code")
_MESSAGE_FIELDS = ("message", "error", "text", "reason")
_MAX_DEPTH = 8  # of objects around the details of a failure
_DETAIL_FIELDS = ("error", "output", "incomplete_details", "status_details")


class InvalidStateError(ValueError):
    """The reply is not the state of a run."""


@dataclass(frozen=True, slots=True)
class RunState:
    """State of a run at the time of a reply."""

    run_id: str
    status: RunStatus
    body: dict[str, Any] = field(repr=False)
    """Body of the reply."""

    @property
    def is_final(self) -> bool:
        """Whether the run has ended, so that its state does not change any more."""
        return self.status in _FINAL


class ParsedOutput(NamedTuple):
    """Text and reasoning in the output of a run."""

    text: str
    reasoning: str
    is_complete: bool
    """Whether there is a message, and every message is complete."""

    extra: dict[str, Any]
    """Fields that this version does not recognize."""


class FailureDetails(NamedTuple):
    """Details of a failed run; all of them may be missing."""

    code: str = ""
    message: str = ""
    status: int | None = None


def parse_state(body: dict[str, Any], run_id: str | None = None) -> RunState:
    """Return the state in a reply; `run_id` is the id of the run if it is known.

    Raises:
        InvalidStateError: The id is missing or that of another run, or the status is unknown.
    """
    word, reply_id = body.get("status"), body.get("id")
    status = _STATUS_BY_WORD.get(word.lower()) if isinstance(word, str) else None
    if status is None:
        message = f"expected a status among {sorted(_STATUS_BY_WORD)}, got {str(word)[:60]!r}"
        raise InvalidStateError(message)
    if run_id is None:
        if not isinstance(reply_id, str) or not reply_id:
            message = "the reply contains no id"
            raise InvalidStateError(message)
        run_id = reply_id
    elif reply_id not in (None, run_id):
        message = f"expected the state of run {run_id}, got that of {str(reply_id)[:60]!r}"
        raise InvalidStateError(message)
    return RunState(run_id, status, body)


def parse_output(body: dict[str, Any]) -> ParsedOutput:
    """Return text and reasoning in the output of a run."""
    output = body.get("output")
    items: list[Any] = output if isinstance(output, list) else [output]
    texts: list[str] = []
    reasoning: list[str] = []
    unknown_items: list[Any] = []
    is_complete = True
    for item in items:
        match item:
            case {"type": "message"}:
                texts.append(_join_texts(item.get("content")))
                is_complete = is_complete and item.get("status") in (None, "completed")
                if unknown := _find_unknown_parts(item.get("content")):
                    unknown_items.append(item | {"content": unknown})
            case {"type": "reasoning"}:
                # The form is not shown: a summary as on the route of models, or content as in OpenAI's.
                reasoning.append(_join_texts(item.get("content")) or _join_texts(item.get("summary")))
            case _ if item:
                unknown_items.append(item)
    extra = {name: value for name, value in body.items() if name not in _KNOWN_FIELDS and value}
    if unknown_items:
        extra["output"] = unknown_items
    return ParsedOutput(
        TEXT_SEPARATOR.join(filter(None, texts)),
        TEXT_SEPARATOR.join(filter(None, reasoning)),
        is_complete and bool(texts),
        extra,
    )


def parse_failure(body: dict[str, Any]) -> FailureDetails:
    """Return the details of a failure, wherever they are in a reply."""
    for name in _DETAIL_FIELDS:
        if details := _find_details(body.get(name)):
            return details
    own_fields = {name: body[name] for name in ("code", "message", "status_code") if name in body}
    return _find_details(own_fields) or FailureDetails()


def _find_details(value: Any, depth: int = 0) -> FailureDetails | None:
    """Return the details in a value, or None."""
    value = None if depth > _MAX_DEPTH else wire_json.parse_nested(value)
    match value:
        case str() if value.strip():
            return FailureDetails(message=value)
        case list():
            return next(filter(None, (_find_details(item, depth + 1) for item in value)), None)
        case {"type": "message", "content": content}:
            return _find_details(_join_texts(content), depth + 1)
        case dict() if value.get("type") != "reasoning":
            return _read_details(value, depth)
    return None


def _read_details(fields: dict[str, Any], depth: int) -> FailureDetails | None:
    for name in ("error", "message"):  # an object that contains the details
        if isinstance(wire_json.parse_nested(fields.get(name)), dict):
            return _find_details(fields[name], depth + 1)
    code = next((fields[name] for name in _CODE_FIELDS if fields.get(name)), "")
    message = next((fields[name] for name in _MESSAGE_FIELDS if fields.get(name)), "")
    if not code and not message:
        return None
    status = next(
        (fields[name] for name in ("status_code", "status") if _is_int(fields.get(name))), None
    )
    return FailureDetails(str(code), str(message), status)


def _get_type(item: Any) -> Any:
    return item.get("type") if isinstance(item, dict) else None


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _join_texts(content: Any) -> str:
    """Return the text in the content of an item: a text, or a list of parts."""
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if _get_type(part) in _TEXT_PARTS else part for part in parts]
    return "".join(text for text in texts if isinstance(text, str))


def _find_unknown_parts(content: Any) -> list[Any]:
    """Return the parts that are no text, and texts with annotations, whose form is not shown."""
    parts = content if isinstance(content, list) else []
    return [
        part
        for part in parts
        if isinstance(part, dict) and (part.get("type") not in _TEXT_PARTS or part.get("annotations"))
    ]
