"""Tool calls in the text of an answer, which a prompt has asked for: found while it streams, taken out.

A call is `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, the form that Qwen models are trained
on and that Qwen-Agent asks for. How a call is asked for is in `_tool_prompt`.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.citations import without_markers
from langchain_bailian_app._answer.events import ToolCall
from langchain_bailian_app._answer.text_json import end_of, ends_in_string, find

if TYPE_CHECKING:
    from collections.abc import Sequence

OPENING = "<tool_call>"
CLOSING = "</tool_call>"

# What can stand behind the opening tag of a call, well-formed or not; else the tag is text.
_BEGINS = re.compile(r"\s*(?:[{\[]|```|<function|[A-Za-z_][\w.-]*\()", re.ASCII)
_MAY_BEGIN = re.compile(r"\s*(?:`{0,2}|<[a-z]{0,7}|[A-Za-z_][\w.-]*)\Z", re.ASCII)
_BEFORE_JSON = re.compile(r"\s*(?:```\w*\s*)?(?=[{\[])")
_NAMING = {"name", "id", "type", "index", "arguments", "parameters"}


class CallReader:
    """Finds calls in a text that comes in pieces, cut anywhere.

    Args:
        names: The functions that may be called.
        only_one: Whether one answer may make one call at most.
    """

    def __init__(self, names: Sequence[str], *, only_one: bool = False) -> None:
        self._names = names
        self._only_one = only_one
        self._held = ""  # outside of a call: what may be the beginning of one, and the space before it
        self._inside: list[str] | None = None
        self._begun = False  # whether what is inside looks like a call
        self._tail = ""  # of what is inside: a closing tag may come in pieces
        self._searched = 0  # how much of what is inside has no closing tag but in strings
        self.calls: list[ToolCall] = []

    def feed(self, text: str) -> list[str | ToolCall]:
        """Return text and calls, in their order, as far as they are certain."""
        parts: list[str | ToolCall] = []
        rest: str | None = text
        while rest is not None:
            if self._inside is None:
                rest = self._feed_outside(rest, parts)
            else:
                rest = self._feed_inside(self._inside, rest, parts)
        return parts

    def end(self) -> list[str | ToolCall]:
        """Return what was held back, now that no more text comes."""
        parts: list[str | ToolCall] = []
        while self._inside is not None:
            body = "".join(self._inside)
            self._inside = None
            if not self._begun:
                parts.append(self._held + OPENING + body)
                self._held = ""
                continue
            end, behind = _end_of_unclosed(body)
            parts += self._calls_in(body[:end])
            if not CLOSING.startswith(body[behind:].strip()):
                parts += self.feed(body[behind:])
        held, self._held = self._held, ""
        # Space behind the last call belongs to it.
        return [*parts, held] if held.strip() or (held and not self.calls) else parts

    def _feed_outside(self, text: str, parts: list[str | ToolCall]) -> str | None:
        """Add what is certain; return what stands behind the opening of a call."""
        before, opening, behind = (self._held + text).partition(OPENING)
        certain = len(before.rstrip()) if opening else _certain(before)
        if certain:
            parts.append(before[:certain])
        self._held = before[certain:]
        if not opening:
            return None
        self._inside, self._begun, self._tail, self._searched = [], False, "", 0
        return behind

    def _feed_inside(self, inside: list[str], text: str, parts: list[str | ToolCall]) -> str | None:
        """Add the call if it is whole; return what stands behind it."""
        inside.append(text)
        if not self._begun:
            body = "".join(inside)
            if _MAY_BEGIN.match(body):
                return None
            if not _BEGINS.match(body):
                self._inside = None
                parts.append(self._held + OPENING)
                self._held = ""
                return body
            self._begun = True
            text = body
        window = self._tail + text
        self._tail = window[1 - len(CLOSING) :]
        if CLOSING not in window:
            return None
        body = "".join(inside)
        while (end := body.find(CLOSING, self._searched)) >= 0:
            if not ends_in_string(body[:end]):
                if not find(body[:end]).values:  # what seemed a string has no end
                    end = body.find(CLOSING)
                self._inside = None
                whole, behind = _end_of_unclosed(body[:end])
                if OPENING in body[behind:end]:  # the one that is closed is another one
                    parts += self._calls_in(body[:whole])
                    return body[behind:]
                parts += self._calls_in(body[:end])
                return body[end + len(CLOSING) :]
            self._searched = end + 1
        return None

    def _calls_in(self, body: str) -> list[ToolCall]:
        found = find(without_markers(body))
        text = f"{OPENING}{body}{CLOSING}"
        items = [
            item for value in found.values for item in (value if isinstance(value, list) else [value])
        ]
        calls = [self._noted(item, text) for item in items]
        if not calls:
            reason = found.broken or (
                "the JSON breaks off" if found.begun else "there is no JSON in it"
            )
            calls.append(self._noted(None, text, f"a call cannot be read: {reason}"))
        return calls

    def _noted(self, value: Any, text: str, problem: str | None = None) -> ToolCall:
        name = value.get("name") if isinstance(value, dict) else None
        name = name if isinstance(name, str) and name else None
        args: Any = {}
        if name is not None:
            given = value.get("arguments", value.get("parameters"))
            args = {} if given is None else wire_json.opened(given)
            if given is None and (others := sorted(value.keys() - _NAMING)):
                problem = f"the call of {name!r} has no `arguments`, but {others}"
            args = wire_json.mended(args)
        if problem is None:
            problem = self._problem(name, args)
        args = args if isinstance(args, dict) else {}
        call = ToolCall(name, args, text, f"call_{uuid.uuid4().hex}", len(self.calls), problem)
        self.calls.append(call)
        return call

    def _problem(self, name: str | None, args: Any) -> str | None:
        if name is None:
            return "a call is no JSON object with `name` and `arguments`"
        if name not in self._names:
            return f"there is no function {name!r} to call, only {', '.join(self._names)}"
        if not isinstance(args, dict):
            return f"the `arguments` of {name!r} are no JSON object"
        if self._only_one and any(call.problem is None for call in self.calls):
            return "only one function may be called at a time"
        return None


def _end_of_unclosed(body: str) -> tuple[int, int]:
    """Return where a call ends that is not closed, and where what follows it begins."""
    before = _BEFORE_JSON.match(body)
    if before and (end := end_of(body, before.end())) is not None:
        return end, end
    end = body.find(CLOSING)  # inside a string that does not end
    return (end, end + len(CLOSING)) if end >= 0 else (len(body), len(body))


def _certain(text: str) -> int:
    """Return how much of a text is neither the beginning of a call nor space before one."""
    for length in range(min(len(OPENING) - 1, len(text)), 0, -1):
        if OPENING.startswith(text[-length:]):
            return len(text[:-length].rstrip())
    return len(text.rstrip())
