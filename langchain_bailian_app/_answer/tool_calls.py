"""Parser of tool calls in the text of an answer. It removes them while the text streams.

A call is `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, the form that Qwen models are trained
on and that Qwen-Agent requests. The prompt that requests calls is in `chat_models._tool_prompt`.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.citations import strip_markers
from langchain_bailian_app._answer.events import ToolCall
from langchain_bailian_app._answer.json_extraction import ends_in_string, extract_json, find_json_end

if TYPE_CHECKING:
    from collections.abc import Sequence

OPENING_TAG = "<tool_call>"
CLOSING_TAG = "</tool_call>"

# Text after the opening tag of a call, even a malformed one. Before other text, the tag is plain text.
_CALL_START = re.compile(r"\s*(?:[{\[]|```|<function|[A-Za-z_][\w.-]*\()", re.ASCII)
_PARTIAL_CALL_START = re.compile(r"\s*(?:`{0,2}|<[a-z]{0,7}|[A-Za-z_][\w.-]*)\Z", re.ASCII)
_BEFORE_JSON = re.compile(r"\s*(?:```\w*\s*)?(?=[{\[])")
_CALL_FIELDS = {"name", "id", "type", "index", "arguments", "parameters"}


class ToolCallParser:
    """Finds calls in text that arrives in arbitrary pieces.

    Args:
        names: Names of the functions that may be called.
        only_one: Whether an answer may contain at most one call.
    """

    def __init__(self, names: Sequence[str], *, only_one: bool = False) -> None:
        self._names = names
        self._only_one = only_one
        self._pending = (
            ""  # outside a call: the possible start of a call, and the whitespace before that
        )
        self._buffer: list[str] | None = None
        self._looks_like_call = False  # whether the buffer looks like a call
        self._tail = ""  # end of the buffer, because a closing tag may be split
        self._search_start = 0  # closing tags before this index are in strings
        self.calls: list[ToolCall] = []

    def feed(self, text: str) -> list[str | ToolCall]:
        """Return, in order, complete calls and text that cannot belong to a call."""
        parts: list[str | ToolCall] = []
        remaining: str | None = text
        while remaining is not None:
            if self._buffer is None:
                remaining = self._feed_text(remaining, parts)
            else:
                remaining = self._feed_call(self._buffer, remaining, parts)
        return parts

    def end(self) -> list[str | ToolCall]:
        """Return the pending text and calls at the end of the answer."""
        parts: list[str | ToolCall] = []
        while self._buffer is not None:
            body = "".join(self._buffer)
            self._buffer = None
            if not self._looks_like_call:
                parts.append(self._pending + OPENING_TAG + body)
                self._pending = ""
                continue
            end, next_start = _find_unclosed_end(body)
            parts += self._parse_calls(body[:end])
            if not CLOSING_TAG.startswith(body[next_start:].strip()):
                parts += self.feed(body[next_start:])
        pending, self._pending = self._pending, ""
        # Whitespace after the last call belongs to the call.
        return [*parts, pending] if pending.strip() or (pending and not self.calls) else parts

    def _feed_text(self, text: str, parts: list[str | ToolCall]) -> str | None:
        """Add the text before a possible call; return the text after an opening tag, or None."""
        before, tag, after = (self._pending + text).partition(OPENING_TAG)
        safe_length = len(before.rstrip()) if tag else _emittable_length(before)
        if safe_length:
            parts.append(before[:safe_length])
        self._pending = before[safe_length:]
        if not tag:
            return None
        self._buffer, self._looks_like_call, self._tail, self._search_start = [], False, "", 0
        return after

    def _feed_call(self, buffer: list[str], text: str, parts: list[str | ToolCall]) -> str | None:
        """Add the call if it is complete; return the unread text, or None if more text is needed."""
        buffer.append(text)
        if not self._looks_like_call:
            body = "".join(buffer)
            if _PARTIAL_CALL_START.match(body):
                return None
            if not _CALL_START.match(body):
                self._buffer = None
                parts.append(self._pending + OPENING_TAG)
                self._pending = ""
                return body
            self._looks_like_call = True
            text = body
        window = self._tail + text
        self._tail = window[1 - len(CLOSING_TAG) :]
        if CLOSING_TAG not in window:
            return None
        body = "".join(buffer)
        while (end := body.find(CLOSING_TAG, self._search_start)) >= 0:
            if not ends_in_string(body[:end]):
                if not extract_json(body[:end]).values:  # the string is unterminated
                    end = body.find(CLOSING_TAG)
                self._buffer = None
                call_end, next_start = _find_unclosed_end(body[:end])
                if OPENING_TAG in body[next_start:end]:  # the closing tag belongs to another call
                    parts += self._parse_calls(body[:call_end])
                    return body[next_start:]
                parts += self._parse_calls(body[:end])
                return body[end + len(CLOSING_TAG) :]
            self._search_start = end + 1
        return None

    def _parse_calls(self, body: str) -> list[ToolCall]:
        extracted = extract_json(strip_markers(body))
        text = f"{OPENING_TAG}{body}{CLOSING_TAG}"
        items = [
            item
            for value in extracted.values
            for item in (value if isinstance(value, list) else [value])
        ]
        calls = [self._add_call(item, text) for item in items]
        if not calls:
            reason = extracted.error or (
                "incomplete JSON" if extracted.incomplete_text else "no JSON found"
            )
            calls.append(self._add_call(None, text, f"cannot parse a tool call: {reason}"))
        return calls

    def _add_call(self, value: Any, text: str, problem: str | None = None) -> ToolCall:
        name = value.get("name") if isinstance(value, dict) else None
        name = name if isinstance(name, str) and name else None
        args: Any = {}
        if name is not None:
            raw_args = value.get("arguments", value.get("parameters"))
            args = {} if raw_args is None else wire_json.parse_nested(raw_args)
            if raw_args is None and (unexpected := sorted(value.keys() - _CALL_FIELDS)):
                problem = f"missing `arguments` in the call to {name!r}: got {unexpected}"
            args = wire_json.repair_surrogates(args)
        if problem is None:
            problem = self._find_problem(name, args)
        args = args if isinstance(args, dict) else {}
        call = ToolCall(name, args, text, f"call_{uuid.uuid4().hex}", len(self.calls), problem)
        self.calls.append(call)
        return call

    def _find_problem(self, name: str | None, args: Any) -> str | None:
        if name is None:
            return "invalid tool call: expected a JSON object with `name` and `arguments`"
        if name not in self._names:
            return f"unknown function {name!r}; available functions: {', '.join(self._names)}"
        if not isinstance(args, dict):
            return f"invalid `arguments` of {name!r}: expected a JSON object"
        if self._only_one and any(call.problem is None for call in self.calls):
            return "only one function may be called at a time"
        return None


def _find_unclosed_end(body: str) -> tuple[int, int]:
    """Return the end of an unclosed call, and the start of the text after it."""
    before = _BEFORE_JSON.match(body)
    if before and (end := find_json_end(body, before.end())) is not None:
        return end, end
    end = body.find(CLOSING_TAG)  # inside an unterminated string
    return (end, end + len(CLOSING_TAG)) if end >= 0 else (len(body), len(body))


def _emittable_length(text: str) -> int:
    """Return how much text can be emitted.

    The remainder is a possible start of a call at the end, and the whitespace before that.
    """
    for length in range(min(len(OPENING_TAG) - 1, len(text)), 0, -1):
        if OPENING_TAG.startswith(text[-length:]):
            return len(text[:-length].rstrip())
    return len(text.rstrip())
