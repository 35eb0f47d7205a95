"""The model with structured output: ask, read, ask once more if need be."""

from __future__ import annotations

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

from langchain_bailian_app._settings.application import hide_secrets
from langchain_bailian_app.chat_models._output_format import OutputFormat, Schema
from langchain_bailian_app.chat_models._runnable import without_session

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator

    from langchain_core.runnables import RunnableConfig

    from langchain_bailian_app.chat_models._generation import Hooks

Method = Literal["json_schema", "function_calling", "json_mode", "prompt"]

_METHODS = get_args(Method)
# Neither the schema nor an answer that does not fit is to stand in a session, and no JSON is to be cut.
_FIXED: dict[str, Any] = {
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
    problem: str | None = None


class StructuredOutput(Runnable[LanguageModelInput, Any]):
    """What `BailianAppChatModel.with_structured_output` returns."""

    def __init__(
        self,
        model: Hooks,
        schema: Schema | None,
        *,
        method: Method,
        include_raw: bool,
        keywords: dict[str, Any],
    ) -> None:
        if method not in _METHODS:
            names = ", ".join(map(repr, _METHODS))
            message = f"there is no method {method!r} for applications, only {names}"
            raise ValueError(message)
        if schema is None and method != "json_mode":
            message = "give a `schema`; only `method='json_mode'` can do without"
            raise ValueError(message)
        fixed = {name: value for name, value in _FIXED.items() if name in type(model).model_fields}
        self._model = model.model_copy(update=fixed)
        self._format = OutputFormat(schema, told=method != "json_mode")
        self._include_raw = include_raw
        self._keywords = hide_secrets(_checked(keywords))
        if schema is not None:
            described = {"kwargs": {"method": method}, "schema": schema}
            self._keywords = self._keywords | {"ls_structured_output_format": described}
        model.overlaid(self._keywords)  # says at once what no call could do

    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """Return the object, or with `include_raw` a dict with `raw`, `parsed` and `parsing_error`."""
        return self._call_with_config(_run(self._invoke), input, config, **kwargs)

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """Do what `invoke` does on an event loop."""
        return await self._acall_with_config(_run(self._ainvoke), input, config, **kwargs)

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """Yield what has come of the object, again and again, and in the end what `invoke` returns."""
        run = _run(self._stream)
        yield from self._transform_stream_with_config(iter([input]), run, config, **kwargs)

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Do what `stream` does on an event loop."""
        run = _run(self._astream)
        stream = self._atransform_stream_with_config(_alone(input), run, config, **kwargs)
        async with aclosing(cast("AsyncGenerator[Any]", stream)) as parts:
            async for part in parts:
                yield part

    # -- threads and event loops ---------------------------------------------------------------------

    def _invoke(self, input: LanguageModelInput, config: RunnableConfig, **kwargs: Any) -> Any:
        asked, inside, keywords = self._asked(input, config, kwargs)
        outcome = self._read(self._model.invoke(asked, inside, **keywords))
        if outcome.problem is not None:
            again = self._asked_again(asked, outcome)
            outcome = self._read(self._model.invoke(again, inside, **keywords))
        return self._shown(outcome)

    async def _ainvoke(self, input: LanguageModelInput, config: RunnableConfig, **kwargs: Any) -> Any:
        asked, inside, keywords = self._asked(input, config, kwargs)
        outcome = self._read(await self._model.ainvoke(asked, inside, **keywords))
        if outcome.problem is not None:
            again = self._asked_again(asked, outcome)
            outcome = self._read(await self._model.ainvoke(again, inside, **keywords))
        return self._shown(outcome)

    def _stream(
        self, inputs: Iterator[LanguageModelInput], config: RunnableConfig, **kwargs: Any
    ) -> Iterator[Any]:
        asked, inside, keywords = self._asked(next(inputs), config, kwargs)
        parts = _Parts(self._format)
        stream = cast("Generator[AIMessageChunk]", self._model.stream(asked, inside, **keywords))
        with closing(stream) as chunks:
            for chunk in chunks:
                if parts.grown_by(chunk):
                    yield self._shown(parts.outcome())
        outcome = self._read(parts.message())
        if outcome.problem is not None:
            again = self._asked_again(asked, outcome)
            outcome = self._read(self._model.invoke(again, inside, **keywords))
        if self._include_raw or outcome.problem is not None or parts.newest != outcome.parsed:
            yield self._shown(outcome)

    async def _astream(
        self, inputs: AsyncIterator[LanguageModelInput], config: RunnableConfig, **kwargs: Any
    ) -> AsyncIterator[Any]:
        asked, inside, keywords = self._asked(await anext(inputs), config, kwargs)
        parts = _Parts(self._format)
        stream = cast("AsyncGenerator[AIMessageChunk]", self._model.astream(asked, inside, **keywords))
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                if parts.grown_by(chunk):
                    yield self._shown(parts.outcome())
        outcome = self._read(parts.message())
        if outcome.problem is not None:
            again = self._asked_again(asked, outcome)
            outcome = self._read(await self._model.ainvoke(again, inside, **keywords))
        if self._include_raw or outcome.problem is not None or parts.newest != outcome.parsed:
            yield self._shown(outcome)

    # -- what they share -----------------------------------------------------------------------------

    def _asked(
        self, input: LanguageModelInput, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> tuple[list[BaseMessage], RunnableConfig, dict[str, Any]]:
        """Return messages, config and keywords of the first call."""
        given = [HumanMessage(input)] if isinstance(input, str) else convert_to_messages(input)
        return self._format.asked(given), without_session(config), self._keywords | _checked(kwargs)

    def _asked_again(self, asked: list[BaseMessage], outcome: _Outcome) -> list[BaseMessage]:
        return self._format.asked_again(asked, outcome.raw.text, outcome.problem or "")

    def _read(self, raw: AIMessage) -> _Outcome:
        reading = self._format.read(raw.text)
        return _Outcome(raw, reading.parsed, reading.problem)

    def _shown(self, outcome: _Outcome) -> Any:
        error = None
        if outcome.problem is not None:
            message = (
                f"the application's answer does not fit, nor did the one before: {outcome.problem}"
            )
            error = OutputParserException(message, llm_output=outcome.raw.text)
        if self._include_raw:
            return {"raw": outcome.raw, "parsed": outcome.parsed, "parsing_error": error}
        if error is not None:
            raise error
        return outcome.parsed


class _Parts:
    """What has come of an object in a stream."""

    newest: Any = None

    def __init__(self, output_format: OutputFormat) -> None:
        self._format = output_format
        self._message: AIMessageChunk | None = None

    def grown_by(self, chunk: AIMessageChunk) -> bool:
        """Whether there is more of it with this chunk."""
        self._message = chunk if self._message is None else self._message + chunk
        part = self._format.read_part(self._message.text) if chunk.text else None
        if part is None or part == self.newest:
            return False
        self.newest = part
        return True

    def outcome(self) -> _Outcome:
        return _Outcome(self.message(), self.newest)

    def message(self) -> AIMessage:
        return cast("AIMessage", message_chunk_to_message(cast("AIMessageChunk", self._message)))


def _checked(keywords: dict[str, Any]) -> dict[str, Any]:
    """Refuse keywords that structured output leaves no choice of."""
    taken = sorted(name for name in _FIXED if keywords.get(name) is not None)
    if taken:
        names = ", ".join(f"`{name}`" for name in taken)
        message = f"structured output takes no {names}: it uses no session and reads the whole answer"
        raise TypeError(message)
    return keywords


def _run(function: Any) -> Any:
    return function  # core's types know no function of an input and a config alone


async def _alone(input: LanguageModelInput) -> AsyncIterator[LanguageModelInput]:
    yield input
