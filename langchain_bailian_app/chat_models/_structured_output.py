"""Runnable for structured output: sends, parses, and retries once if the answer does not match."""

from __future__ import annotations

import math
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    convert_to_messages,
    message_chunk_to_message,
)
from langchain_core.runnables import Runnable

from langchain_bailian_app._request.fields import wrap_secrets
from langchain_bailian_app.chat_models._output_format import OutputSchema, Schema
from langchain_bailian_app.chat_models._runnable import drop_session

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator

    from langchain_core.runnables import RunnableConfig

    from langchain_bailian_app.chat_models._runnable import RunnableMethods

Method = Literal["json_schema", "function_calling", "json_mode", "prompt"]

_METHODS = get_args(Method)
# These keep schemas and invalid answers out of sessions, and leave the JSON in answers intact.
_FORCED_OPTIONS: dict[str, Any] = {
    "history": "messages",
    "session_id": None,
    "session_key": None,
    "stop": None,
    "citation_markers": "strip",
    "tools": None,
}


@dataclass(frozen=True, slots=True)
class _Outcome:
    raw: AIMessage
    parsed: Any = None
    error: str | None = None


class StructuredOutput(Runnable[LanguageModelInput, Any]):
    """Runnable that `BailianAppChatModel.with_structured_output` returns."""

    def __init__(
        self,
        model: RunnableMethods,
        schema: Schema | None,
        *,
        method: Method,
        include_raw: bool,
        kwargs: dict[str, Any],
    ) -> None:
        if method not in _METHODS:
            names = ", ".join(map(repr, _METHODS))
            message = f"invalid `method`: expected one of {names}, got {method!r}"
            raise ValueError(message)
        if schema is None and method != "json_mode":
            message = "missing `schema`: pass one, or use `method='json_mode'`"
            raise ValueError(message)
        fields = type(model).model_fields
        forced = {name: value for name, value in _FORCED_OPTIONS.items() if name in fields}
        self._model = model.model_copy(update=forced)
        self._output_schema = OutputSchema(schema, include_schema=method != "json_mode")
        self._include_raw = include_raw
        self._kwargs = wrap_secrets(_reject_forced_options(kwargs))
        if schema is not None:
            format_info = {"kwargs": {"method": method}, "schema": schema}
            self._kwargs = self._kwargs | {"ls_structured_output_format": format_info}
        model.with_overrides(self._kwargs)  # raises immediately if an option is invalid

    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """Return the object; with `include_raw`, a dict of `raw`, `parsed` and `parsing_error`."""
        return self._call_with_config(_erase_type(self._invoke), input, config, **kwargs)

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """Async version of `invoke`."""
        return await self._acall_with_config(_erase_type(self._ainvoke), input, config, **kwargs)

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """Yield the object as it grows; the last item equals the result of `invoke`."""
        transform = _erase_type(self._stream)
        yield from self._transform_stream_with_config(iter([input]), transform, config, **kwargs)

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Async version of `stream`."""
        transform = _erase_type(self._astream)
        stream = self._atransform_stream_with_config(_single(input), transform, config, **kwargs)
        async with aclosing(cast("AsyncGenerator[Any]", stream)) as outputs:
            async for output in outputs:
                yield output

    # -- threads and event loops ---------------------------------------------------------------------

    def _invoke(self, input: LanguageModelInput, config: RunnableConfig, **kwargs: Any) -> Any:
        messages, inner_config, call_kwargs = self._prepare(input, config, kwargs)
        outcome = self._parse(self._model.invoke(messages, inner_config, **call_kwargs))
        if outcome.error is not None:
            retry = self._append_retry(messages, outcome)
            outcome = self._parse(self._model.invoke(retry, inner_config, **call_kwargs))
        return self._to_output(outcome)

    async def _ainvoke(self, input: LanguageModelInput, config: RunnableConfig, **kwargs: Any) -> Any:
        messages, inner_config, call_kwargs = self._prepare(input, config, kwargs)
        outcome = self._parse(await self._model.ainvoke(messages, inner_config, **call_kwargs))
        if outcome.error is not None:
            retry = self._append_retry(messages, outcome)
            outcome = self._parse(await self._model.ainvoke(retry, inner_config, **call_kwargs))
        return self._to_output(outcome)

    def _stream(
        self, inputs: Iterator[LanguageModelInput], config: RunnableConfig, **kwargs: Any
    ) -> Iterator[Any]:
        messages, inner_config, call_kwargs = self._prepare(next(inputs), config, kwargs)
        partial = _PartialObject(self._output_schema)
        stream = cast(
            "Generator[AIMessageChunk]", self._model.stream(messages, inner_config, **call_kwargs)
        )
        with closing(stream) as chunks:
            for chunk in chunks:
                if partial.update(chunk):
                    yield self._to_output(partial.outcome())
        outcome = self._parse(partial.message())
        if outcome.error is not None:
            retry = self._append_retry(messages, outcome)
            outcome = self._parse(self._model.invoke(retry, inner_config, **call_kwargs))
        if self._include_raw or outcome.error is not None or partial.latest != outcome.parsed:
            yield self._to_output(outcome)

    async def _astream(
        self, inputs: AsyncIterator[LanguageModelInput], config: RunnableConfig, **kwargs: Any
    ) -> AsyncIterator[Any]:
        messages, inner_config, call_kwargs = self._prepare(await anext(inputs), config, kwargs)
        partial = _PartialObject(self._output_schema)
        stream = cast(
            "AsyncGenerator[AIMessageChunk]", self._model.astream(messages, inner_config, **call_kwargs)
        )
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                if partial.update(chunk):
                    yield self._to_output(partial.outcome())
        outcome = self._parse(partial.message())
        if outcome.error is not None:
            retry = self._append_retry(messages, outcome)
            outcome = self._parse(await self._model.ainvoke(retry, inner_config, **call_kwargs))
        if self._include_raw or outcome.error is not None or partial.latest != outcome.parsed:
            yield self._to_output(outcome)

    # -- shared --------------------------------------------------------------------------------------

    def _prepare(
        self, input: LanguageModelInput, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> tuple[list[BaseMessage], RunnableConfig, dict[str, Any]]:
        """Return the messages, the config and the options of the first call."""
        messages = [HumanMessage(input)] if isinstance(input, str) else convert_to_messages(input)
        return (
            self._output_schema.add_instructions(messages),
            drop_session(config),
            self._kwargs | _reject_forced_options(kwargs),
        )

    def _append_retry(self, messages: list[BaseMessage], outcome: _Outcome) -> list[BaseMessage]:
        return self._output_schema.append_retry(messages, outcome.raw.text, outcome.error or "")

    def _parse(self, raw: AIMessage) -> _Outcome:
        result = self._output_schema.parse(raw.text)
        return _Outcome(raw, result.parsed, result.error)

    def _to_output(self, outcome: _Outcome) -> Any:
        exception = None
        if outcome.error is not None:
            message = f"the answer does not match the schema, even after a retry: {outcome.error}"
            exception = OutputParserException(message, llm_output=outcome.raw.text)
        if self._include_raw:
            return {"raw": outcome.raw, "parsed": outcome.parsed, "parsing_error": exception}
        if exception is not None:
            raise exception
        return outcome.parsed


class _PartialObject:
    """Partial object, updated with each chunk of a stream.

    Each update parses the whole text. If the text contains no usable value, for example long prose, the
    next update waits until it has grown by a sixteenth, so that all updates together take linear time.
    """

    latest: Any = None

    def __init__(self, output_schema: OutputSchema) -> None:
        self._output_schema = output_schema
        self._chunks: list[AIMessageChunk] = []
        self._length = 0
        self._next_update = 1.0  # length of the text from which on it is parsed again

    def update(self, chunk: AIMessageChunk) -> bool:
        """Add a chunk and return whether it changed the object."""
        self._chunks.append(chunk)
        text_length = len(chunk.text)
        self._length += text_length
        if not text_length or self._length < self._next_update:
            return False
        result = self._output_schema.parse_partial(self._merge_chunks().text)
        if result.is_complete:
            self._next_update = math.inf
        elif result.parsed is None:
            self._next_update = self._length * 17 / 16
        if result.parsed is None or result.parsed == self.latest:
            return False
        self.latest = result.parsed
        return True

    def _merge_chunks(self) -> AIMessageChunk:
        first, *others = self._chunks
        if others:
            self._chunks = [first + others]
        return self._chunks[0]

    def outcome(self) -> _Outcome:
        return _Outcome(self.message(), self.latest)

    def message(self) -> AIMessage:
        return cast("AIMessage", message_chunk_to_message(self._merge_chunks()))


def _reject_forced_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments; raise TypeError if structured output does not allow one of them."""
    rejected = sorted(name for name in _FORCED_OPTIONS if kwargs.get(name) is not None)
    if rejected:
        names = ", ".join(f"`{name}`" for name in rejected)
        message = (
            f"cannot use {names} with structured output, which uses neither sessions nor tools and "
            "requires the complete, unmodified answer"
        )
        raise TypeError(message)
    return kwargs


def _erase_type(function: Any) -> Any:
    return function  # langchain-core has no type for a function of an input and a config


async def _single(input: LanguageModelInput) -> AsyncIterator[LanguageModelInput]:
    yield input
