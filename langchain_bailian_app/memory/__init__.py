"""Long-term memory (长期记忆): `BailianMemoryLibrary` for any model, `BailianMemory` for applications.

`BailianMemoryLibrary` is the client for memory libraries, 长期记忆（新）. `BailianMemory` is the one
for the older memories, whose ids an application accepts as `memory_id`.
"""

from langchain_bailian_app._answer.recalled_memory import RecalledMemory
from langchain_bailian_app.memory._library import BailianMemoryLibrary
from langchain_bailian_app.memory._memories import BailianMemory, Memory, MemoryNode
from langchain_bailian_app.memory._records import (
    AddResult,
    AttributeOperation,
    LibraryNode,
    MemoryChange,
    MemoryEvent,
    MemoryEventEntry,
    MemorySkill,
    ProfileAttribute,
    ProfileSchema,
    ProfileValue,
    ProfileValueItem,
    SearchResult,
    UserProfile,
)
from langchain_bailian_app.memory._requests import AddOptions, SearchOptions

__all__ = [
    "AddOptions",
    "AddResult",
    "AttributeOperation",
    "BailianMemory",
    "BailianMemoryLibrary",
    "LibraryNode",
    "Memory",
    "MemoryChange",
    "MemoryEvent",
    "MemoryEventEntry",
    "MemoryNode",
    "MemorySkill",
    "ProfileAttribute",
    "ProfileSchema",
    "ProfileValue",
    "ProfileValueItem",
    "RecalledMemory",
    "SearchOptions",
    "SearchResult",
    "UserProfile",
]

for _public in (
    AddOptions,
    AddResult,
    AttributeOperation,
    BailianMemory,
    BailianMemoryLibrary,
    LibraryNode,
    Memory,
    MemoryChange,
    MemoryEvent,
    MemoryEventEntry,
    MemoryNode,
    MemorySkill,
    ProfileAttribute,
    ProfileSchema,
    ProfileValue,
    ProfileValueItem,
    RecalledMemory,
    SearchOptions,
    SearchResult,
    UserProfile,
):
    _public.__module__ = __name__
