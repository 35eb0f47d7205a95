"""Structured prediction with the chat model's structured output, which retries once if needed."""

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
from langchain_bailian_app.llama_index._tracing import dispatcher, trace_without_secrets, unwrap_kwargs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable
    from llama_index.core.prompts import PromptTemplate

    from langchain_bailian_app.chat_models._model import BailianAppChatModel

M = TypeVar("M", bound=BaseModel)

# Arguments by which LlamaIndex's programs request an object as a tool call; not used here.
_PROGRAM_KWARGS = {"tool_choice", "tool_required", "allow_parallel_tool_calls"}


class StructuredPrediction(FunctionCallingLLM):
    """LLM that predicts objects by prompting, if `pydantic_program_mode` has its default value."""

    if TYPE_CHECKING:
        model: BailianAppChatModel

    @trace_without_secrets()
    def structured_predict(
        self,
        output_cls: type[M],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> M:
        """Return an instance of `output_cls`; see `BailianAppChatModel.with_structured_output`.

        Args:
            output_cls: A pydantic class.
            prompt: Template for the question.
            llm_kwargs: Options of `BailianAppChatModel` for this call.
            prompt_args: Values for the template's variables.

        Raises:
            OutputParserException: Neither the first nor the second answer matches the class.
        """
        if self.pydantic_program_mode is not PydanticProgramMode.DEFAULT:
            prediction = super().structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return cast("M", prediction)
        dispatcher.event(_make_start_event(output_cls, prompt, prompt_args))
        structured = self._make_structured_model(output_cls, llm_kwargs)
        output = cast("M", structured.invoke(self._format_prompt(prompt, prompt_args)))
        dispatcher.event(LLMStructuredPredictEndEvent(output=output))
        return output

    @trace_without_secrets()
    async def astructured_predict(
        self,
        output_cls: type[M],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> M:
        """Async version of `structured_predict`."""
        if self.pydantic_program_mode is not PydanticProgramMode.DEFAULT:
            prediction = super().astructured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return cast("M", await prediction)
        dispatcher.event(_make_start_event(output_cls, prompt, prompt_args))
        structured = self._make_structured_model(output_cls, llm_kwargs)
        output = cast("M", await structured.ainvoke(self._format_prompt(prompt, prompt_args)))
        dispatcher.event(LLMStructuredPredictEndEvent(output=output))
        return output

    # These call `_structured_stream_call` and `_structured_astream_call` below.
    stream_structured_predict: ClassVar[Any] = trace_without_secrets()(
        FunctionCallingLLM.stream_structured_predict
    )
    astream_structured_predict: ClassVar[Any] = trace_without_secrets()(
        FunctionCallingLLM.astream_structured_predict
    )

    def _structured_stream_call(
        self,
        output_cls: type[M],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any]:
        if self.pydantic_program_mode is not PydanticProgramMode.DEFAULT:
            return super()._structured_stream_call(output_cls, prompt, llm_kwargs, **prompt_args)
        return self._stream_objects(output_cls, self._format_prompt(prompt, prompt_args), llm_kwargs)

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
        return self._astream_objects(output_cls, self._format_prompt(prompt, prompt_args), llm_kwargs)

    def _stream_objects(
        self, output_cls: type[M], messages: list[BaseMessage], llm_kwargs: dict[str, Any] | None
    ) -> Generator[BaseModel]:
        partial_object = _FlexibleObject(output_cls)
        stream = self._make_structured_model(output_cls.model_json_schema(), llm_kwargs).stream(
            messages
        )
        with closing(cast("Generator[Any]", stream)) as parts:
            for part in parts:
                yield partial_object.update(part)
        partial_object.validate()

    async def _astream_objects(
        self, output_cls: type[M], messages: list[BaseMessage], llm_kwargs: dict[str, Any] | None
    ) -> AsyncGenerator[BaseModel]:
        partial_object = _FlexibleObject(output_cls)
        stream = self._make_structured_model(output_cls.model_json_schema(), llm_kwargs).astream(
            messages
        )
        async with aclosing(cast("AsyncGenerator[Any]", stream)) as parts:
            async for part in parts:
                yield partial_object.update(part)
        partial_object.validate()

    def _make_structured_model(
        self, schema: type[BaseModel] | dict[str, Any], llm_kwargs: dict[str, Any] | None
    ) -> Runnable[Any, Any]:
        kwargs = unwrap_kwargs(llm_kwargs or {})
        model_kwargs = {name: value for name, value in kwargs.items() if name not in _PROGRAM_KWARGS}
        return self.model.with_structured_output(schema, **model_kwargs)

    def _format_prompt(self, prompt: PromptTemplate, values: dict[str, Any]) -> list[BaseMessage]:
        return to_langchain(self._extend_messages(prompt.format_messages(llm=self, **values)))


class _FlexibleObject:
    """Partial object, updated with each part of a stream."""

    def __init__(self, output_cls: type[BaseModel]) -> None:
        self._output_cls = output_cls
        self._flexible_cls = create_flexible_model(output_cls)
        self._latest_json = ""

    def update(self, part: dict[str, Any]) -> BaseModel:
        """Return an instance of the class, or of its flexible variant while the object is invalid."""
        self._latest_json = json.dumps(part)
        try:
            return self._output_cls.model_validate_json(self._latest_json)
        except ValidationError:
            return self._flexible_cls.model_validate(part)

    def validate(self) -> None:
        """Validate the final object with the class: a JSON Schema cannot express all validators.

        Raises:
            ValidationError: The object is invalid.
        """
        self._output_cls.model_validate_json(self._latest_json)


def _make_start_event(
    output_cls: type[BaseModel], prompt: PromptTemplate, prompt_args: dict[str, Any]
) -> LLMStructuredPredictStartEvent:
    return LLMStructuredPredictStartEvent(
        output_cls=output_cls, template=prompt, template_args=prompt_args
    )
