"""Calls as LlamaIndex's callbacks and spans see them: without the secrets among their keywords.

LlamaIndex hands all keywords of a call to whoever listens, before the call begins.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast

from llama_index.core.instrumentation import DISPATCHER_SPAN_DECORATED_ATTR, get_dispatcher
from pydantic import BaseModel, PrivateAttr

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

# User tokens, and URLs of private files.
_SECRET = ("biz_params", "image_list", "file_list")

dispatcher = get_dispatcher(__name__)


class Hidden(BaseModel):
    """A keyword of which no trace shows the value."""

    _value: Any = PrivateAttr()

    @classmethod
    def around(cls, value: Any) -> Hidden:
        """Hide a value."""
        hidden = cls()
        hidden._value = value
        return hidden

    def revealed(self) -> Any:
        """Return the value."""
        return self._value


def revealed(keywords: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords of a call as they were given."""
    return {
        name: value.revealed() if isinstance(value, Hidden) else value
        for name, value in keywords.items()
    }


def traced(*callbacks: Callable[[], Any]) -> Callable[[F], F]:
    """Return a decorator for methods that callbacks and a span see, but not the secrets they are given.

    Args:
        callbacks: Decorators of LlamaIndex, such as `llm_chat_callback`.
    """

    def decorate(method: F) -> F:
        signature = inspect.signature(method)
        seen: Any = method
        for callback in callbacks:
            seen = callback()(seen)
        seen = dispatcher.span(seen)

        def outer(self: Any, *args: Any, **keywords: Any) -> Any:
            return seen.__get__(self)(*args, **_hidden(keywords))

        async def aouter(self: Any, *args: Any, **keywords: Any) -> Any:
            return await seen.__get__(self)(*args, **_hidden(keywords))

        wrapper: Any = aouter if inspect.iscoroutinefunction(method) else outer
        functools.update_wrapper(wrapper, method)
        wrapper.__signature__ = signature  # callbacks spoil `__wrapped__`, which would tell it
        setattr(wrapper, DISPATCHER_SPAN_DECORATED_ATTR, True)  # or there would be a span around it
        return cast("F", wrapper)

    return decorate


def _hidden(keywords: dict[str, Any]) -> dict[str, Any]:
    hidden: dict[str, Any] = {
        name: Hidden.around(keywords[name]) for name in _SECRET if keywords.get(name) is not None
    }
    if keywords.get("llm_kwargs"):  # of structured output
        hidden["llm_kwargs"] = _hidden(keywords["llm_kwargs"])
    return keywords | hidden
