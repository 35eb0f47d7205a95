"""`BailianAppLLM`: an application of Bailian (百炼) as an LLM for LlamaIndex."""

import pickle
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    ToolCallBlock,
)
from llama_index.core.constants import DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools.types import BaseTool
from pydantic import ConfigDict, Field, field_serializer, model_validator

from langchain_bailian_app._request.fields import CompletionFields
from langchain_bailian_app._settings.connection import ConnectionFields
from langchain_bailian_app.chat_models._model import BailianAppChatModel
from langchain_bailian_app.llama_index._messages import to_langchain
from langchain_bailian_app.llama_index._responses import (
    ChunkAccumulator,
    to_chat_response,
    to_completion_response,
)
from langchain_bailian_app.llama_index._structured import StructuredPrediction
from langchain_bailian_app.llama_index._tracing import trace_without_secrets, unwrap_kwargs
from langchain_bailian_app.options._signed_urls import redact

T = TypeVar("T")


class BailianAppLLM(StructuredPrediction):
    """LLM for LlamaIndex that calls an application of Bailian (百炼, Alibaba Cloud Model Studio).

    Setup:
        ```bash
        pip install 'langchain-bailian-app[llama-index]'
        export DASHSCOPE_API_KEY=... BAILIAN_APP_ID=...
        ```

    Instantiate:
        ```python
        from llama_index.core.llms import ChatMessage
        from langchain_bailian_app.llama_index import BailianAppLLM

        llm = BailianAppLLM()  # accepts the fields of BailianAppChatModel, e.g. app_id="…", or model=…
        ```

    Invoke:
        ```python
        llm.complete("什么是滞报金？").text
        response = llm.chat([ChatMessage("什么是滞报金？")], has_thoughts=True)
        response.message, response.raw["usage"], response.raw["citations"]
        ```

    Stream:
        ```python
        for response in llm.stream_chat([ChatMessage("什么是滞报金？")]):
            print(response.delta, end="")
        ```

    Async:
        ```python
        response = await llm.achat([ChatMessage("什么是滞报金？")])
        ```

    Responses:
        The message contains a `ThinkingBlock` if the application returns its reasoning, a `TextBlock`,
        and a `ToolCallBlock` for each call of one of your tools. `raw` contains the token counts as
        `usage`, and all entries of `response_metadata` and `additional_kwargs` of LangChain's message.
        While streaming, `raw` describes the current chunk; in the last response, it describes the
        complete answer.

    Conversations:
        With `history="session"`, the service keeps a copy of the conversation, and only new messages
        are sent. The position in the session is in `message.additional_kwargs`; store it with the
        message, as LlamaIndex's memories do. To use a specific session, pass `session_id=…` to a call.
        For `history="thread"`, set `session_key` and use one LLM per conversation, since LlamaIndex
        cannot pass the key per call.

    Tools:
        With `tool_calling="prompt"`, tool calling is emulated by prompting. Only then does LlamaIndex
        treat the LLM as a function calling model; otherwise its agents use their own prompts (ReAct).

    Raises:
        BailianError: The call failed; see `langchain_bailian_app.errors`.
        ValueError: An argument is invalid; nothing was sent.
    """

    # Error messages would otherwise contain the input, including keys and tokens.
    model_config = ConfigDict(hide_input_in_errors=True)

    model: BailianAppChatModel
    """The application. You can also pass its fields directly to the LLM: `app_id`, `rag_options`, …"""

    context_window: int = Field(default=32_768, gt=0)
    """Context window of the model, in tokens. LlamaIndex trims memories and passages to fit.

    The service does not report the context window of your model, so set it here."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            model: BailianAppChatModel | None = None,
            context_window: int = 32_768,
            **fields: Any,
        ) -> None: ...

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex uses to serialize and trace this class."""
        return "BailianAppLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """Properties of the model for LlamaIndex."""
        return LLMMetadata(
            context_window=self.context_window,
            num_output=self.model.max_tokens or DEFAULT_NUM_OUTPUTS,
            is_chat_model=True,
            is_function_calling_model=self.model.tool_calling is not None,
            model_name=self.model.app_id,
        )

    # -- calls ---------------------------------------------------------------------------------------

    @trace_without_secrets(llm_chat_callback)
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Return the answer to a conversation; `kwargs` are options of `BailianAppChatModel`."""
        return to_chat_response(self.model.invoke(to_langchain(messages), **unwrap_kwargs(kwargs)))

    @trace_without_secrets(llm_chat_callback)
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Async version of `chat`."""
        return to_chat_response(
            await self.model.ainvoke(to_langchain(messages), **unwrap_kwargs(kwargs))
        )

    @trace_without_secrets(llm_chat_callback)
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Stream the answer to a conversation; each response has a `delta` and the message so far."""
        return self._stream(to_langchain(messages), kwargs, to_chat_response)

    @trace_without_secrets(llm_chat_callback)
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Async version of `stream_chat`."""
        return self._astream(to_langchain(messages), kwargs, to_chat_response)

    @trace_without_secrets(llm_completion_callback)
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: ARG002
        """Return the answer to a question; `kwargs` are options of `BailianAppChatModel`."""
        return to_completion_response(
            self.model.invoke([HumanMessage(prompt)], **unwrap_kwargs(kwargs))
        )

    @trace_without_secrets(llm_completion_callback)
    async def acomplete(
        self,
        prompt: str,
        formatted: bool = False,  # noqa: ARG002
        **kwargs: Any,
    ) -> CompletionResponse:
        """Async version of `complete`."""
        return to_completion_response(
            await self.model.ainvoke([HumanMessage(prompt)], **unwrap_kwargs(kwargs))
        )

    @trace_without_secrets(llm_completion_callback)
    def stream_complete(
        self,
        prompt: str,
        formatted: bool = False,  # noqa: ARG002
        **kwargs: Any,
    ) -> CompletionResponseGen:
        """Stream the answer to a question; each response has a `delta` and the text so far."""
        return self._stream([HumanMessage(prompt)], kwargs, to_completion_response)

    @trace_without_secrets(llm_completion_callback)
    async def astream_complete(
        self,
        prompt: str,
        formatted: bool = False,  # noqa: ARG002
        **kwargs: Any,
    ) -> CompletionResponseAsyncGen:
        """Async version of `stream_complete`."""
        return self._astream([HumanMessage(prompt)], kwargs, to_completion_response)

    def _stream(
        self,
        messages: list[BaseMessage],
        kwargs: dict[str, Any],
        make_response: Callable[[AIMessage, AIMessageChunk], T],
    ) -> Generator[T]:
        accumulator = ChunkAccumulator()
        stream = self.model.stream(messages, **unwrap_kwargs(kwargs))
        with closing(cast("Generator[AIMessageChunk]", stream)) as chunks:
            for chunk in chunks:
                yield make_response(accumulator.add(chunk), chunk)

    async def _astream(
        self,
        messages: list[BaseMessage],
        kwargs: dict[str, Any],
        make_response: Callable[[AIMessage, AIMessageChunk], T],
    ) -> AsyncGenerator[T]:
        accumulator = ChunkAccumulator()
        stream = self.model.astream(messages, **unwrap_kwargs(kwargs))
        async with aclosing(cast("AsyncGenerator[AIMessageChunk]", stream)) as chunks:
            async for chunk in chunks:
                yield make_response(accumulator.add(chunk), chunk)

    # -- tools ---------------------------------------------------------------------------------------

    def _prepare_chat_with_tools(  # noqa: PLR0917  # signature of LlamaIndex
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,  # noqa: ARG002
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: str | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        user_messages = [] if user_msg is None else [user_msg]
        new_messages = [
            ChatMessage(message) if isinstance(message, str) else message for message in user_messages
        ]
        return {
            "messages": [*(chat_history or ()), *new_messages],
            "tools": [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools],
            "tool_choice": tool_choice or ("any" if tool_required else "auto"),
            "parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def get_tool_calls_from_response(
        self,
        response: ChatResponse,
        error_on_no_tool_call: bool = True,
        **kwargs: Any,  # noqa: ARG002
    ) -> list[ToolSelection]:
        """Return the tool calls in an answer.

        Args:
            response: A response of `chat_with_tools`.
            error_on_no_tool_call: Whether to raise an error if the answer contains no tool call.
            kwargs: Ignored.

        Raises:
            ValueError: The answer contains no tool call, and `error_on_no_tool_call` is True.
        """
        calls = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if error_on_no_tool_call and not calls:
            message = f"no tool call in the answer: {response.message.content!r}"
            raise ValueError(message)
        return [
            ToolSelection(
                tool_id=call.tool_call_id or "",
                tool_name=call.tool_name,
                tool_kwargs=cast("dict[str, Any]", call.tool_kwargs),
            )
            for call in calls
        ]

    # -- fields --------------------------------------------------------------------------------------

    @model_validator(mode="before")
    @classmethod
    def _make_model(cls, values: Any) -> Any:
        """Create the model from the fields that do not belong to the LLM itself."""
        own_fields = {name: value for name, value in values.items() if name in cls.model_fields}
        fields = {name: value for name, value in values.items() if name not in own_fields}
        model = own_fields.get("model") or {}
        if isinstance(model, BailianAppChatModel):
            settings = {name: getattr(model, name) for name in type(model).model_fields}
            own_fields["model"] = type(model)(**settings | fields) if fields else model
        elif isinstance(model, dict):  # from `to_dict`, or empty
            own_fields["model"] = BailianAppChatModel(**model | fields)
        else:
            message = (
                f"invalid `model`: expected a BailianAppChatModel, got {type(model).__name__}; pass "
                "`app_id` to select an application, and `app_model` to replace its model"
            )
            raise ValueError(message)  # noqa: TRY004  # pydantic adds the field only to ValueErrors
        return own_fields

    @field_serializer("model")
    def _dump_model(self, model: BailianAppChatModel) -> dict[str, Any]:
        """Return the fields that differ from their defaults, without secrets or connections."""
        names = {*ConnectionFields.model_fields, *CompletionFields.model_fields} - {"api_key"}
        settings = model.model_dump(include=names, exclude_none=True, exclude_defaults=True)
        return {"app_id": model.app_id, **redact(settings)}

    def __getstate__(self) -> dict[str, Any]:
        """Return the state; raise if the model cannot be pickled, since LlamaIndex would omit it."""
        pickle.dumps(self.model)
        state: dict[str, Any] = super().__getstate__()
        return state
