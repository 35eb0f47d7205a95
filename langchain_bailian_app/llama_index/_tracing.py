"""Instrumentation of calls for LlamaIndex's callbacks and spans, without secrets in arguments.

LlamaIndex passes all keyword arguments of a call to its listeners before the call starts. The content
of messages is not redacted, because listeners are supposed to see it.
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
    """Wrapper that hides the value of a keyword argument from traces."""

    _value: Any = PrivateAttr()

    @classmethod
    def wrap(cls, value: Any) -> Redacted:
        """Return the wrapped value."""
        redacted = cls()
        redacted._value = value
        return redacted

    def unwrap(self) -> Any:
        """Return the original value."""
        return self._value


def unwrap_kwargs(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of a call with their original values."""
    return {
        name: value.unwrap() if isinstance(value, Redacted) else value for name, value in kwargs.items()
    }


def trace_without_secrets(*callbacks: Callable[[], Any]) -> Callable[[F], F]:
    """Return a decorator that reports calls to LlamaIndex without the secrets in their arguments.

    It hides secrets in the keyword arguments that the method receives as `kwargs` or `llm_kwargs`.

    Args:
        callbacks: LlamaIndex's decorators, e.g. `llm_chat_callback`. A span is always created.
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
        wrapper.__signature__ = signature  # the callbacks break `__wrapped__`, which would provide it
        # Otherwise LlamaIndex would add a second span.
        setattr(wrapper, DISPATCHER_SPAN_DECORATED_ATTR, True)
        return cast("F", wrapper)

    return decorate


def _redact_kwargs(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: Redacted.wrap(value)
        if name in _SECRET_KWARGS and not isinstance(value, Redacted)
        else value
        for name, value in kwargs.items()
    }
