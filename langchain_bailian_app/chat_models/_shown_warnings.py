"""Warnings that a chat model shows only once, at the line that called it."""

import inspect
import sys
import warnings

# Callers of these packages are not the code that the user can change.
_INTERNAL_PACKAGES = sys.stdlib_module_names | {
    "anyio",
    "langchain",
    "langchain_bailian_app",
    "langchain_core",
    "langgraph",
    "llama_index",
    "llama_index_workflows",
    "starlette",
    "uvloop",
    "workflows",
}


class ShownWarnings:
    """The kinds of warnings that a model has shown.

    LangChain copies a model for a single call, so shallow copies of a model share this object. A deep
    copy of a model starts without shown warnings. All objects are equal, so that models with equal
    settings are.
    """

    def __init__(self) -> None:
        self._first_by_kind: dict[str, object] = {}

    def warn_once(self, kind: str, message: str) -> None:
        """Show a warning, unless one of this kind was shown. Safe in several threads at once."""
        marker = object()
        if self._first_by_kind.setdefault(kind, marker) is marker:
            warnings.warn(message, stacklevel=_find_stacklevel())

    def __contains__(self, kind: str) -> bool:
        return kind in self._first_by_kind

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShownWarnings)

    __hash__ = None  # type: ignore[assignment]

    def __deepcopy__(self, memo: dict[int, object]) -> "ShownWarnings":
        return ShownWarnings()


def _find_stacklevel() -> int:
    """Return the `stacklevel` of the user's code for a warning in the caller of this function.

    LangChain runs `ainvoke` in a task of its own; then it is the line that runs the event loop. If
    there is no such line either, as in a pool of threads, it is `warn_once` itself.
    """
    frame = inspect.currentframe()
    level = 0  # `frame` is this function
    while frame is not None:
        module = frame.f_globals.get("__name__") or ""
        if module.partition(".")[0] not in _INTERNAL_PACKAGES:
            return level
        frame, level = frame.f_back, level + 1
    return 1
