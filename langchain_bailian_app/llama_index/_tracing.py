"""Calls as LlamaIndex's callbacks and spans see them: without the secrets among their keywords.

LlamaIndex hands all keywords of a call to whoever listens, before the call begins. What stands in
messages listeners are meant to see.
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
_SECRET_KWARGS = ("biz_params", "image_list", "file_list")

dispatcher = get_dispatcher(__name__)


class Redacted(BaseModel):
    """A keyword of which no trace shows the value."""

    _value: Any = PrivateAttr()

    @classmethod
    def wrap(cls, value: Any) -> Redacted:
        """Hide a value."""
        redacted = cls()
        redacted._value = value
        return redacted

    def unwrap(self) -> Any:
        """Return the value."""
        return self._value


def unwrap_kwargs(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords of a call as they were given."""
    return {
        name: value.unwrap() if isinstance(value, Redacted) else value for name, value in kwargs.items()
    }


def trace_without_secrets(*callbacks: Callable[[], Any]) -> Callable[[F], F]:
    """Return a decorator for methods that listeners see, but not the secrets among their keywords.

    Keywords of a call are those that the method takes as `kwargs` or `llm_kwargs`.

    Args:
        callbacks: Decorators of LlamaIndex, such as `llm_chat_callback`; a span is always told.
    """

    def decorate(method: F) -> F:
        signature = inspect.signature(method)
        instrumented: Any = method
        for callback in callbacks:
            instrumented = callback()(instrumented)
        instrumented = dispatcher.span(instrumented)

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(self, *args, **kwargs)
            for name in ("kwargs", "llm_kwargs"):
                if call_kwargs := bound.arguments.get(name):
                    bound.arguments[name] = _redact_kwargs(call_kwargs)
            return instrumented.__get__(self)(*bound.args[1:], **bound.kwargs)

        async def acall(self: Any, *args: Any, **kwargs: Any) -> Any:
            return await call(self, *args, **kwargs)

        wrapper: Any = acall if inspect.iscoroutinefunction(method) else call
        functools.update_wrapper(wrapper, method)
        wrapper.__signature__ = signature  # callbacks spoil `__wrapped__`, which would tell it
        setattr(wrapper, DISPATCHER_SPAN_DECORATED_ATTR, True)  # or there would be a span around it
        return cast("F", wrapper)

    return decorate


def _redact_kwargs(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: Redacted.wrap(value)
        if name in _SECRET_KWARGS and not isinstance(value, Redacted)
        else value
        for name, value in kwargs.items()
    }
