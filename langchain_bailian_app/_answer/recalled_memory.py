"""Parser of the recalled long-term memories in the steps of an answer."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

from langchain_bailian_app._answer.steps import step_kind
from langchain_bailian_app._answer.wire_json import parse_nested

if TYPE_CHECKING:
    from collections.abc import Iterable

# Recorded: `[2025-3-16 20:47:40 周日] 用户喜欢吃面食。`. Month and day are not padded.
_TIMESTAMP = re.compile(r"\[(\d{4})-(\d{1,2})-(\d{1,2}) (\d{1,2}):(\d{2}):(\d{2})[^\]]*\] ?")


class RecalledMemory(TypedDict):
    """A fact about the user from long-term memory; an item of `response_metadata["memories"]`."""

    text: str
    """The fact."""

    stored_at: str | None
    """Time when the fact was stored, such as `2025-03-16T20:47:40`; None if missing or invalid.

    It has no time zone, because the service does not send one.
    """


def parse_recalled_memories(thoughts: Iterable[dict[str, Any]]) -> list[RecalledMemory]:
    """Return the recalled memories in the service's order, without duplicates."""
    memories: list[RecalledMemory] = []
    for thought in thoughts:
        facts = parse_nested(thought.get("observation")) if step_kind(thought) == "memory" else None
        for fact in facts if isinstance(facts, list) else ():
            memory = _parse_memory(fact) if isinstance(fact, str) else None
            if memory is not None and memory not in memories:
                memories.append(memory)
    return memories


def _parse_memory(fact: str) -> RecalledMemory:
    match = _TIMESTAMP.match(fact)
    try:
        stored_at = datetime(*map(int, match.groups())).isoformat() if match else None  # type: ignore[arg-type]  # noqa: DTZ001
    except ValueError:
        match = stored_at = None
    return RecalledMemory(text=fact[match.end() :] if match else fact, stored_at=stored_at)
