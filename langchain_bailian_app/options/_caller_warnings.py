"""Warnings that point at the code that called this package."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

# Packages between the user's code and this package.
_FRAMEWORKS = sys.stdlib_module_names | {
    "anyio",
    "fastapi",
    "langchain",
    "langchain_bailian_app",
    "langchain_classic",
    "langchain_community",
    "langchain_core",
    "langgraph",
    "llama_index",
    "llama_index_workflows",
    "pydantic",
    "starlette",
    "tenacity",
    "uvicorn",
    "uvloop",
    "workflows",
}


def warn_caller(message: str) -> None:
    """Show a `UserWarning` for the innermost line outside of this package and its frameworks.

    Python shows a warning once for each line. LangChain runs `ainvoke` in a task of its own; then it is
    the line that runs the event loop. If there is no such line either, as in a pool of threads, it is
    the line that called this function.
    """
    warnings.warn(message, stacklevel=_find_stacklevel())


def _find_stacklevel() -> int:
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # `inspect.stack` would read files
    level = 1
    while frame is not None:
        if (frame.f_globals.get("__name__") or "").partition(".")[0] not in _FRAMEWORKS:
            return level
        frame, level = frame.f_back, level + 1
    return 2
