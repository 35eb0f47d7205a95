"""Long-term memory: simple facts about users from their own messages, stored by memory id.

The service extracts facts with a model, after about a minute. The emulator extracts them at once, with
patterns.
"""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

# Pattern, template of the stored fact, and template of the fact in the second person.
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
    """Return the facts about the author of a message, one sentence each; skip questions."""
    return [
        (second_person_text if second_person else third_person_text).format(*match.groups())
        for pattern, third_person_text, second_person_text in _FACT_PATTERNS
        for match in pattern.finditer(text)
        if not _QUESTION_WORD.search(match.group(0))
    ]


@dataclass
class StoredMemory:
    """A long-term memory; `nodes` contains the time and text of each fact by node id."""

    memory_id: str
    description: str = ""
    nodes: dict[str, tuple[str, str]] = field(default_factory=dict)


class MemoryStore:
    """All long-term memories of an emulator, created through Bailian's OpenAPI or by requests to apps.

    A request to an app may contain the id of a memory that was never created. No source documents
    whether the service rejects such a request.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.memories: dict[str, StoredMemory] = {}
        """Memories by id, oldest first."""
        self._now = now

    def clear(self) -> None:
        """Delete all memories."""
        self.memories.clear()

    def recall(self, memory_id: str) -> tuple[str, ...]:
        """Return the newest facts of a memory, oldest first, each with the time when it was stored."""
        memory = self.memories.get(memory_id)
        nodes = list(memory.nodes.values()) if memory is not None else []
        return tuple(f"[{timestamp}] {fact}" for timestamp, fact in nodes[-_MAX_RECALLED_FACTS:])

    def store_facts(self, memory_id: str, prompt: str) -> None:
        """Store the facts in a prompt, without duplicates."""
        facts = extract_facts(prompt)
        if not facts:
            return
        memory = self.memories.setdefault(memory_id, StoredMemory(memory_id))
        for fact in facts:
            if all(stored != fact for _, stored in memory.nodes.values()):
                self.put_node(memory, fact)

    def create_memory(self, description: str) -> StoredMemory:
        """Create a memory with a random id."""
        memory = StoredMemory(uuid.uuid4().hex, description)
        self.memories[memory.memory_id] = memory
        return memory

    def put_node(self, memory: StoredMemory, fact: str, node_id: str | None = None) -> str:
        """Store a fact and return its node id; with `node_id`, replace the fact of that node."""
        now = self._now()
        # As recorded: month and day are not padded.
        timestamp = f"{now.year}-{now.month}-{now.day} {now:%H:%M:%S} 周{_WEEKDAYS[now.weekday()]}"
        node_id = node_id or uuid.uuid4().hex
        memory.nodes[node_id] = timestamp, fact
        return node_id
