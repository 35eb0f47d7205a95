"""Tool calls in the text of an answer, which a prompt has asked for: found while it streams, taken out.

A call is `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, the form that Qwen models are trained
on and that Qwen-Agent asks for. How a call is asked for is in `chat_models._tool_prompt`.
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

# What can stand behind the opening tag of a call, well-formed or not; else the tag is text.
_CALL_START = re.compile(r"\s*(?:[{\[]|```|<function|[A-Za-z_][\w.-]*\()", re.ASCII)
_PARTIAL_CALL_START = re.compile(r"\s*(?:`{0,2}|<[a-z]{0,7}|[A-Za-z_][\w.-]*)\Z", re.ASCII)
_BEFORE_JSON = re.compile(r"\s*(?:```\w*\s*)?(?=[{\[])")
_CALL_FIELDS = {"name", "id", "type", "index", "arguments", "parameters"}


class ToolCallParser:
    """Finds calls in a text that comes in pieces, cut anywhere.

    Args:
        names: The functions that may be called.
        only_one: Whether one answer may make one call at most.
    """

    def __init__(self, names: Sequence[str], *, only_one: bool = False) -> None:
        self._names = names
        self._only_one = only_one
        self._pending = (
            ""  # outside of a call: what may be the beginning of one, and the space before it
        )
        self._buffer: list[str] | None = None
        self._looks_like_call = False  # whether what is inside looks like a call
        self._tail = ""  # of what is inside: a closing tag may come in pieces
        self._search_start = 0  # how much of what is inside has no closing tag but in strings
        self.calls: list[ToolCall] = []

    def feed(self, text: str) -> list[str | ToolCall]:
        """Return text and calls, in their order, as far as they are certain."""
        parts: list[str | ToolCall] = []
        remaining: str | None = text
        while remaining is not None:
            if self._buffer is None:
                remaining = self._feed_text(remaining, parts)
            else:
                remaining = self._feed_call(self._buffer, remaining, parts)
        return parts

    def end(self) -> list[str | ToolCall]:
        """Return what was held back, now that no more text comes."""
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
        # Space behind the last call belongs to it.
        return [*parts, pending] if pending.strip() or (pending and not self.calls) else parts

    def _feed_text(self, text: str, parts: list[str | ToolCall]) -> str | None:
        """Add what is certain; return what stands behind the opening of a call."""
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
        """Add the call if it is whole; return what stands behind it."""
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
                if not extract_json(body[:end]).values:  # what seemed a string has no end
                    end = body.find(CLOSING_TAG)
                self._buffer = None
                call_end, next_start = _find_unclosed_end(body[:end])
                if OPENING_TAG in body[next_start:end]:  # the one that is closed is another one
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
                "the JSON breaks off" if extracted.incomplete_text else "there is no JSON in it"
            )
            calls.append(self._add_call(None, text, f"a call cannot be read: {reason}"))
        return calls

    def _add_call(self, value: Any, text: str, problem: str | None = None) -> ToolCall:
        name = value.get("name") if isinstance(value, dict) else None
        name = name if isinstance(name, str) and name else None
        args: Any = {}
        if name is not None:
            raw_args = value.get("arguments", value.get("parameters"))
            args = {} if raw_args is None else wire_json.parse_nested(raw_args)
            if raw_args is None and (unexpected := sorted(value.keys() - _CALL_FIELDS)):
                problem = f"the call of {name!r} has no `arguments`, but {unexpected}"
            args = wire_json.repair_surrogates(args)
        if problem is None:
            problem = self._find_problem(name, args)
        args = args if isinstance(args, dict) else {}
        call = ToolCall(name, args, text, f"call_{uuid.uuid4().hex}", len(self.calls), problem)
        self.calls.append(call)
        return call

    def _find_problem(self, name: str | None, args: Any) -> str | None:
        if name is None:
            return "a call is no JSON object with `name` and `arguments`"
        if name not in self._names:
            return f"there is no function {name!r} to call, only {', '.join(self._names)}"
        if not isinstance(args, dict):
            return f"the `arguments` of {name!r} are no JSON object"
        if self._only_one and any(call.problem is None for call in self.calls):
            return "only one function may be called at a time"
        return None


def _find_unclosed_end(body: str) -> tuple[int, int]:
    """Return where a call ends that is not closed, and where what follows it begins."""
    before = _BEFORE_JSON.match(body)
    if before and (end := find_json_end(body, before.end())) is not None:
        return end, end
    end = body.find(CLOSING_TAG)  # inside a string that does not end
    return (end, end + len(CLOSING_TAG)) if end >= 0 else (len(body), len(body))


def _emittable_length(text: str) -> int:
    """Return how much of a text is neither the beginning of a call nor space before one."""
    for length in range(min(len(OPENING_TAG) - 1, len(text)), 0, -1):
        if OPENING_TAG.startswith(text[-length:]):
            return len(text[:-length].rstrip())
    return len(text.rstrip())
