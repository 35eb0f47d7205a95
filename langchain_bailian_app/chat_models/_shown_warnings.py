"""Warnings that a chat model shows only once, at the line that called it."""

from langchain_bailian_app.options._caller_warnings import warn_caller


class ShownWarnings:
    """The kinds of warnings that a model has shown.

    LangChain copies a model for a single call, so shallow copies of a model share this object. A deep
    copy of a model starts without shown warnings. All objects are equal, so that models with equal
    settings are.
    """

    def __init__(self) -> None:
        self._first_by_kind: dict[str, object] = {}
        self.serves_threads = False
        """Whether a call had a `configurable.thread_id`: the model serves several conversations."""

    def warn_once(self, kind: str, message: str) -> None:
        """Show a warning, unless one of this kind was shown. Safe in several threads at once."""
        marker = object()
        if self._first_by_kind.setdefault(kind, marker) is marker:
            warn_caller(message)

    def __contains__(self, kind: str) -> bool:
        return kind in self._first_by_kind

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShownWarnings)

    __hash__ = None  # type: ignore[assignment]

    def __deepcopy__(self, memo: dict[int, object]) -> "ShownWarnings":
        return ShownWarnings()
