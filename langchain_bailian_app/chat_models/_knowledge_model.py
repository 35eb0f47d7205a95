"""`BailianKnowledgeChatModel`: a LangChain chat model that asks a knowledge chat service."""

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import (
    BaseChatModel,
    LangSmithParams,
    LanguageModelInput,
    ModelProfile,
)
from langchain_core.language_models.chat_models import agenerate_from_stream, generate_from_stream
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import BaseModel, model_validator

from langchain_bailian_app._answer.answer import PROVIDER
from langchain_bailian_app._request.knowledge_fields import (
    NO_CALLER_TOOLS,
    KnowledgeChatFields,
    explain_unknown_field,
)
from langchain_bailian_app._settings.connection import Id
from langchain_bailian_app._settings.signature import with_readable_signature
from langchain_bailian_app._transport.service_client_mixin import ServiceClientMixin
from langchain_bailian_app._version import __version__
from langchain_bailian_app.chat_models._results import chat_result_from_message, combine_llm_outputs
from langchain_bailian_app.chat_models._token_callbacks import (
    anotify_callbacks,
    has_token_handler,
    notify_callbacks,
)
from langchain_bailian_app.chat_models._token_count import count_message_tokens, encode_tokens

if TYPE_CHECKING:
    from langchain_bailian_app._answer.events import Delta
    from langchain_bailian_app._request.service_request import ServiceRequest
    from langchain_bailian_app.chat_models._knowledge_response import KnowledgeResponseBuilder


@with_readable_signature
class BailianKnowledgeChatModel(ServiceClientMixin, KnowledgeChatFields, BaseChatModel):
    """Chat model that asks a chat service (知识问答服务) of Bailian.

    A chat service answers from its knowledge bases: it plans, searches with its tools, and answers with
    sources. It is not an application, and needs none. It is reached on the host of the workspace, so
    `workspace` is required. It keeps no conversation: each call sends all messages (the documentation
    advises at most 10 rounds).

    The documents disagree on the limit: 25 requests per second, or 10 requests in 10 seconds. The model
    does not throttle; pass a `rate_limiter`.

    Setup:
        ```bash
        pip install langchain-bailian-app
        export DASHSCOPE_API_KEY=... DASHSCOPE_WORKSPACE=...
        ```

    Key init args:
        `agent_id`: the service; `list_knowledge_services("chat")` lists the ids.
        `api_key`, `workspace`, `base_url`: the connection.
        `session_files`, `agent_version`, `citation_markers`, `stop`: options, which can also be passed
        per call.

    Instantiate:
        ```python
        from langchain_bailian_app import BailianKnowledgeChatModel

        model = BailianKnowledgeChatModel(agent_id="aid-customs-chat")
        ```

    Invoke:
        ```python
        message = model.invoke("什么是滞报金？")
        message.content, message.usage_metadata, message.content_blocks
        ```

    Stream:
        ```python
        for chunk in model.stream("什么是滞报金？"):
            print(chunk.text, end="")
        ```

    Async:
        ```python
        message = await model.ainvoke("什么是滞报金？")
        async for chunk in model.astream("什么是滞报金？"):
            print(chunk.text, end="")
        ```

    Answers:
        Planning is reasoning, each tool of the service is a step, and the text has citations, as in an
        answer of an application. `additional_kwargs["doc_references"]` lists all documents that the
        tools found. `usage_metadata` is the usage in the last frame, which the documentation calls
        final; `response_metadata["extra"]["round_usage"]` lists the usage of each round.

    System messages:
        The prompt of a service is set in the console, and its documentation lists only the roles user
        and assistant. The text of system messages is sent before the last question.

    Raises:
        BailianError: The call failed; see `langchain_bailian_app.errors`.
        ValueError: An argument is invalid; no request was sent.
    """

    agent_id: Id
    """Id of the chat service, such as `"aid-…"`. It is not the id of an application."""

    @property
    def _llm_type(self) -> str:
        return "bailian-knowledge"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        names = {"base_url", "workspace", "region", *KnowledgeChatFields.model_fields}
        non_defaults = self.model_dump(include=names, exclude_none=True, exclude_defaults=True)
        return {"agent_id": self.agent_id} | non_defaults

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = PROVIDER
        params["ls_model_name"] = kwargs.get("model") or self.agent_id
        return params

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        return {"model": self.agent_id} | super()._get_invocation_params(stop=stop, **kwargs)

    def _combine_llm_outputs(self, _llm_outputs: list[dict[str, Any] | None], /) -> dict[str, Any]:
        return combine_llm_outputs(_llm_outputs)

    def _resolve_model_profile(self) -> ModelProfile | None:
        return {
            "text_inputs": True,
            "image_url_inputs": True,
            "text_outputs": True,
            "reasoning_output": True,
            "tool_calling": False,
            "structured_output": False,
        }

    @model_validator(mode="before")
    @classmethod
    def _reject_unknown_fields(cls, values: Any) -> Any:
        for name in values if isinstance(values, dict) else ():
            if name not in cls.model_fields:
                raise ValueError(explain_unknown_field(name, cls.model_fields))
        return values

    @model_validator(mode="after")
    def _set_bailian_app_version(self) -> Self:
        self._add_version("langchain-bailian-app", __version__)
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if has_token_handler(run_manager):
            result = generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))
            return chat_result_from_message(result.generations[0].message)
        request, response = self._prepare_call(messages, stop, kwargs)
        for _ in self._iter_deltas(request, response):
            pass
        return response.build_result()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if has_token_handler(run_manager):
            result = await agenerate_from_stream(self._astream(messages, stop, run_manager, **kwargs))
            return chat_result_from_message(result.generations[0].message)
        request, response = self._prepare_call(messages, stop, kwargs)
        async with aclosing(self._aiter_deltas(request, response)) as batches:
            async for _ in batches:
                pass
        return response.build_result()

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Generator[ChatGenerationChunk]:
        chunks = self._iter_chunks(*self._prepare_call(messages, stop, kwargs))
        return chunks if run_manager is None else notify_callbacks(chunks, run_manager)

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk]:
        chunks = self._aiter_chunks(*self._prepare_call(messages, stop, kwargs))
        return chunks if run_manager is None else anotify_callbacks(chunks, run_manager)

    def _prepare_call(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> "tuple[ServiceRequest, KnowledgeResponseBuilder]":
        from langchain_bailian_app._request.knowledge_request import build_chat_request
        from langchain_bailian_app.chat_models._knowledge_response import KnowledgeResponseBuilder

        options = self.with_overrides(kwargs if stop is None else kwargs | {"stop": stop})
        request = build_chat_request(self.agent_id, messages, options)
        return request, KnowledgeResponseBuilder(self.agent_id, options)

    def _iter_chunks(
        self, request: "ServiceRequest", response: "KnowledgeResponseBuilder"
    ) -> Generator[ChatGenerationChunk]:
        from langchain_bailian_app.chat_models._messages import generation_chunks_from_deltas

        with closing(self._iter_deltas(request, response)) as batches:
            for deltas in batches:
                yield from generation_chunks_from_deltas(deltas)
        yield response.build_last_chunk()

    async def _aiter_chunks(
        self, request: "ServiceRequest", response: "KnowledgeResponseBuilder"
    ) -> AsyncGenerator[ChatGenerationChunk]:
        from langchain_bailian_app.chat_models._messages import generation_chunks_from_deltas

        async with aclosing(self._aiter_deltas(request, response)) as batches:
            async for deltas in batches:
                for chunk in generation_chunks_from_deltas(deltas):
                    yield chunk
        yield response.build_last_chunk()

    def _iter_deltas(
        self, request: "ServiceRequest", response: "KnowledgeResponseBuilder"
    ) -> "Generator[list[Delta]]":
        """Send a request and yield the deltas of the answer as they arrive."""
        transport = self._create_transport(requires_workspace_host=True)
        with response.partial_on_error():
            with closing(transport.stream(request)) as batches:
                for frames in batches:
                    yield response.feed(frames)
                    if response.stopped:
                        break
            last_deltas = response.end(warn_missing_references=False)
        yield last_deltas

    async def _aiter_deltas(
        self, request: "ServiceRequest", response: "KnowledgeResponseBuilder"
    ) -> "AsyncGenerator[list[Delta]]":
        """Async version of `_iter_deltas`."""
        transport = self._create_transport(requires_workspace_host=True)
        with response.partial_on_error():
            async with aclosing(transport.astream(request)) as batches:
                async for frames in batches:
                    yield response.feed(frames)
                    if response.stopped:
                        break
            last_deltas = response.end(warn_missing_references=False)
        yield last_deltas

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Raise NotImplementedError: a chat service accepts no tools of the caller."""
        raise NotImplementedError(NO_CALLER_TOOLS)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Raise NotImplementedError: pass the answer to a model that supports structured output."""
        raise NotImplementedError(NO_CALLER_TOOLS)

    def get_token_ids(self, text: str) -> list[int]:
        """Return the Qwen token ids of `text`: an estimate, as the model may have another tokenizer."""
        return encode_tokens(text)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Estimate the number of tokens in the messages with the Qwen tokenizer, without a request."""
        if tools:
            raise NotImplementedError(NO_CALLER_TOOLS)
        return count_message_tokens(messages)
