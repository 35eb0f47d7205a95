"""Structured prediction by the package's own structured output, which asks twice if need be."""

from __future__ import annotations

import json
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.program.utils import create_flexible_model
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, ValidationError

from langchain_bailian_app.llama_index._messages import to_langchain
from langchain_bailian_app.llama_index._traced import dispatcher, revealed, traced

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable
    from llama_index.core.prompts import PromptTemplate

    from langchain_bailian_app.chat_models._model import BailianAppChatModel

M = TypeVar("M", bound=BaseModel)

# Keywords by which programs of LlamaIndex get objects out of tool calls.
_OF_PROGRAMS = {"tool_choice", "tool_required", "allow_parallel_tool_calls"}


class StructuredPrediction(FunctionCallingLLM):
    """Asks for objects in words, unless another `pydantic_program_mode` than the default is set."""

    if TYPE_CHECKING:
        model: BailianAppChatModel

    @traced()
    def structured_predict(
        self,
        output_cls: type[M],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> M:
        """Return an object of this class; see `BailianAppChatModel.with_structured_output`.

        Args:
            output_cls: A pydantic class.
            prompt: What to ask.
            llm_kwargs: Keywords of `BailianAppChatModel`, for this call.
            prompt_args: Values for the prompt.

        Raises:
            OutputParserException: The answer does not fit, nor does a second one.
        """
        if self.pydantic_program_mode is not PydanticProgramMode.DEFAULT:
            made = super().structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return cast("M", made)
        dispatcher.event(_started(output_cls, prompt, prompt_args))
        structured = self._structured(output_cls, llm_kwargs)
        found = cast("M", structured.invoke(self._asked(prompt, prompt_args)))
        dispatcher.event(LLMStructuredPredictEndEvent(output=found))
        return found

    @traced()
    async def astructured_predict(
        self,
        output_cls: type[M],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> M:
        """Do what `structured_predict` does, on the running event loop."""
        if self.pydantic_program_mode is not PydanticProgramMode.DEFAULT:
            made = super().astructured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return cast("M", await made)
        dispatcher.event(_started(output_cls, prompt, prompt_args))
        structured = self._structured(output_cls, llm_kwargs)
        found = cast("M", await structured.ainvoke(self._asked(prompt, prompt_args)))
        dispatcher.event(LLMStructuredPredictEndEvent(output=found))
        return found

    # These call the two below.
    stream_structured_predict: ClassVar[Any] = traced()(FunctionCallingLLM.stream_structured_predict)
    astream_structured_predict: ClassVar[Any] = traced()(FunctionCallingLLM.astream_structured_predict)

    def _structured_stream_call(
        self,
        output_cls: type[M],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any]:
        if self.pydantic_program_mode is not PydanticProgramMode.DEFAULT:
            return super()._structured_stream_call(output_cls, prompt, llm_kwargs, **prompt_args)
        return self._parts(output_cls, self._asked(prompt, prompt_args), llm_kwargs)

    async def _structured_astream_call(
        self,
        output_cls: type[M],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any]:
        if self.pydantic_program_mode is not PydanticProgramMode.DEFAULT:
            stream = super()._structured_astream_call(output_cls, prompt, llm_kwargs, **prompt_args)
            return await stream
        return self._aparts(output_cls, self._asked(prompt, prompt_args), llm_kwargs)

    def _parts(
        self, output_cls: type[M], messages: list[BaseMessage], llm_kwargs: dict[str, Any] | None
    ) -> Generator[BaseModel]:
        found = _Found(output_cls)
        stream = self._structured(output_cls.model_json_schema(), llm_kwargs).stream(messages)
        with closing(cast("Generator[Any]", stream)) as parts:
            for part in parts:
                yield found.so_far(part)
        found.check()

    async def _aparts(
        self, output_cls: type[M], messages: list[BaseMessage], llm_kwargs: dict[str, Any] | None
    ) -> AsyncGenerator[BaseModel]:
        found = _Found(output_cls)
        stream = self._structured(output_cls.model_json_schema(), llm_kwargs).astream(messages)
        async with aclosing(cast("AsyncGenerator[Any]", stream)) as parts:
            async for part in parts:
                yield found.so_far(part)
        found.check()

    def _structured(
        self, schema: type[BaseModel] | dict[str, Any], llm_kwargs: dict[str, Any] | None
    ) -> Runnable[Any, Any]:
        given = revealed(llm_kwargs or {})
        keywords = {name: value for name, value in given.items() if name not in _OF_PROGRAMS}
        return self.model.with_structured_output(schema, **keywords)

    def _asked(self, prompt: PromptTemplate, values: dict[str, Any]) -> list[BaseMessage]:
        return to_langchain(self._extend_messages(prompt.format_messages(llm=self, **values)))


class _Found:
    """What has come of an object in a stream."""

    def __init__(self, output_cls: type[BaseModel]) -> None:
        self._class = output_cls
        self._loose = create_flexible_model(output_cls)
        self._newest = ""

    def so_far(self, part: dict[str, Any]) -> BaseModel:
        """Return an instance, or what has no checks as long as it is none."""
        self._newest = json.dumps(part)
        try:
            return self._class.model_validate_json(self._newest)
        except ValidationError:
            return self._loose.model_validate(part)

    def check(self) -> None:
        """Refuse an object that fits the schema, but not what else the class wants of it.

        Raises:
            ValidationError: It does not.
        """
        self._class.model_validate_json(self._newest)


def _started(
    output_cls: type[BaseModel], prompt: PromptTemplate, prompt_args: dict[str, Any]
) -> LLMStructuredPredictStartEvent:
    return LLMStructuredPredictStartEvent(
        output_cls=output_cls, template=prompt, template_args=prompt_args
    )
