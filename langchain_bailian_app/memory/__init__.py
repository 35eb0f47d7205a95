"""Long-term memory (长期记忆): `BailianMemoryLibrary` for any model, `BailianMemory` for applications.

`BailianMemoryLibrary` is the client for memory libraries, 长期记忆（新）. On top of it, agents, chat
models and retrievers remember their users. `BailianMemory` is the client for the older memories, whose
ids an application accepts as `memory_id`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from langchain_bailian_app.memory._retriever import BailianMemoryRetriever, BailianMemoryTool
from langchain_bailian_app.memory._runnable import RunnableWithBailianMemory
from langchain_bailian_app.memory._user_memory import BailianUserMemory

if TYPE_CHECKING:
    from langchain_bailian_app.memory._middleware import BailianMemoryMiddleware

__all__ = [
    "AddOptions",
    "AddResult",
    "AttributeOperation",
    "BailianMemory",
    "BailianMemoryLibrary",
    "BailianMemoryMiddleware",
    "BailianMemoryRetriever",
    "BailianMemoryTool",
    "BailianUserMemory",
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
    "RunnableWithBailianMemory",
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
    BailianMemoryRetriever,
    BailianMemoryTool,
    BailianUserMemory,
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
    RunnableWithBailianMemory,
    SearchOptions,
    SearchResult,
    UserProfile,
):
    _public.__module__ = __name__


def __getattr__(name: str) -> Any:
    # The middleware needs the package langchain, which takes long to import.
    if name == "BailianMemoryMiddleware":
        return import_module("langchain_bailian_app.memory._middleware").BailianMemoryMiddleware
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
