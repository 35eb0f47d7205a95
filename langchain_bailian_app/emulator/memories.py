"""Long-term memory: simple facts that users tell about themselves, kept by memory id.

The service extracts facts with a model and after about a minute; here patterns do it at once.
"""

import re
from collections.abc import Callable
from datetime import datetime

# A pattern, what is remembered of it, and how it is said to the user.
_FACTS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"我叫([^，。！？、,.!?\s]{1,20})"), "用户叫{0}。", "你叫{0}。"),
    (
        re.compile(r"我(?:最|很|特别|也)?(喜欢|讨厌)([^，。！？,.!?\n]{1,40})"),
        "用户{0}{1}。",
        "你{0}{1}。",
    ),
    (
        re.compile(r"\bmy name is (\w{1,30})", re.IGNORECASE),
        "The user's name is {0}.",
        "Your name is {0}.",
    ),
    (
        re.compile(r"\bI (?:really )?(like|love|hate) ([^,.!?\n]{1,40})"),
        "The user {0}s {1}.",
        "You {0} {1}.",
    ),
)
_QUESTION = re.compile(r"什么|啥|谁|哪|吗")
_WEEKDAYS = "一二三四五六日"
_RECALLED = 5


def facts_in(text: str, *, addressed: bool = False) -> list[str]:
    """Find what a text tells about its writer, one sentence a fact. Questions tell nothing."""
    return [
        (to_user if addressed else remembered).format(*match.groups())
        for pattern, remembered, to_user in _FACTS
        for match in pattern.finditer(text)
        if not _QUESTION.search(match.group(0))
    ]


class MemoryStore:
    """All long-term memories of an emulator."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._facts: dict[str, list[str]] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._facts.clear()

    def recall(self, memory_id: str) -> tuple[str, ...]:
        """The newest facts, each with the time it was stored."""
        return tuple(self._facts.get(memory_id, ())[-_RECALLED:])

    def store(self, memory_id: str, prompt: str) -> None:
        """Keep the facts that a prompt tells, each once."""
        known = self._facts.setdefault(memory_id, [])
        now = self._now()
        # As recorded: neither month nor day is padded.
        stamp = f"{now.year}-{now.month}-{now.day} {now:%H:%M:%S} 周{_WEEKDAYS[now.weekday()]}"
        for fact in facts_in(prompt):
            if not any(entry.endswith(f"] {fact}") for entry in known):
                known.append(f"[{stamp}] {fact}")
