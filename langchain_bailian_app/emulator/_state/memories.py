"""Long-term memory: simple facts that users tell about themselves, kept by memory id.

The service extracts facts with a model and after about a minute; here patterns do it at once.
"""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

# A pattern, what is remembered of it, and how it is said to the user.
_FACT_PATTERNS: tuple[tuple[re.Pattern[str], str, str], ...] = (
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
_QUESTION_WORD = re.compile(r"什么|啥|谁|哪|吗")
_WEEKDAYS = "一二三四五六日"
_MAX_RECALLED_FACTS = 5


def extract_facts(text: str, *, second_person: bool = False) -> list[str]:
    """Find what a text tells about its writer, one sentence a fact. Questions tell nothing."""
    return [
        (second_person_text if second_person else third_person_text).format(*match.groups())
        for pattern, third_person_text, second_person_text in _FACT_PATTERNS
        for match in pattern.finditer(text)
        if not _QUESTION_WORD.search(match.group(0))
    ]


@dataclass
class StoredMemory:
    """A long-term memory; `nodes` are the facts in it, by id, each with the time it was stored."""

    memory_id: str
    description: str = ""
    nodes: dict[str, tuple[str, str]] = field(default_factory=dict)


class MemoryStore:
    """All long-term memories of an emulator, made over the OpenAPI or named to an app.

    An app may be given an id that was never made; whether the service refuses that, no source says.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.memories: dict[str, StoredMemory] = {}
        """Memories by id, oldest first."""
        self._now = now

    def clear(self) -> None:
        """Forget everything."""
        self.memories.clear()

    def recall(self, memory_id: str) -> tuple[str, ...]:
        """The newest facts, each with the time it was stored."""
        memory = self.memories.get(memory_id)
        nodes = list(memory.nodes.values()) if memory is not None else []
        return tuple(f"[{timestamp}] {fact}" for timestamp, fact in nodes[-_MAX_RECALLED_FACTS:])

    def store_facts(self, memory_id: str, prompt: str) -> None:
        """Keep the facts that a prompt tells, each once."""
        facts = extract_facts(prompt)
        if not facts:
            return
        memory = self.memories.setdefault(memory_id, StoredMemory(memory_id))
        for fact in facts:
            if all(stored != fact for _, stored in memory.nodes.values()):
                self.put_node(memory, fact)

    def create_memory(self, description: str) -> StoredMemory:
        """Make a memory."""
        memory = StoredMemory(uuid.uuid4().hex, description)
        self.memories[memory.memory_id] = memory
        return memory

    def put_node(self, memory: StoredMemory, fact: str, node_id: str | None = None) -> str:
        """Write a fact down, in place of another if that one is named; returns the id of its node."""
        now = self._now()
        # As recorded: neither month nor day is padded.
        timestamp = f"{now.year}-{now.month}-{now.day} {now:%H:%M:%S} 周{_WEEKDAYS[now.weekday()]}"
        node_id = node_id or uuid.uuid4().hex
        memory.nodes[node_id] = timestamp, fact
        return node_id
