"""`BailianAppChatModel`: a LangChain chat model that calls a Bailian (百炼) application."""

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, ClassVar, Self

from langchain_core.caches import BaseCache
from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.language_models.chat_models import agenerate_from_stream, generate_from_stream
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils import from_env
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from langchain_bailian_app._answer.answer import PROVIDER
from langchain_bailian_app._request.fields import NO_TOOLS_MESSAGE, CompletionFields
from langchain_bailian_app._settings.connection import Id
from langchain_bailian_app._settings.signature import with_readable_signature
from langchain_bailian_app._transport.service_client_mixin import ServiceClientMixin
from langchain_bailian_app._version import __version__
from langchain_bailian_app.chat_models._results import chat_result_from_message, combine_llm_outputs
from langchain_bailian_app.chat_models._runnable import RunnableMethods
from langchain_bailian_app.chat_models._structured_output import Method, StructuredOutput
from langchain_bailian_app.chat_models._token_callbacks import (
    anotify_callbacks,
    has_token_handler,
    notify_callbacks,
)
from langchain_bailian_app.chat_models._token_count import count_message_tokens, encode_tokens
from langchain_bailian_app.chat_models._tool_prompt import render_tool_messages, tool_prompt_from_kwargs
from langchain_bailian_app.sessions._store import SessionStore

if TYPE_CHECKING:
    from langchain_bailian_app._request.service_request import ServiceRequest
    from langchain_bailian_app.chat_models._call import PreparedCall
    from langchain_bailian_app.runs._run import BailianRun
    from langchain_bailian_app.runs._settings import RunSettings


@with_readable_signature
class BailianAppChatModel(ServiceClientMixin, RunnableMethods):
    """Chat model that calls an application of Bailian (百炼, Alibaba Cloud Model Studio).

    Setup:
        ```bash
        pip install langchain-bailian-app
        export DASHSCOPE_API_KEY=... BAILIAN_APP_ID=...
        ```

    Key init args:
        `app_id`, `api_key`, `workspace`, `base_url`: the application and its connection.
        `rag_options`, `biz_params`, `memory_id`, `enable_thinking`, `has_thoughts`: request options.
        `citation_markers`, `stop`: processing of the answer.
        The second and third groups can also be passed per call: `model.invoke("…", memory_id="…")`.

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel

        model = BailianAppChatModel()  # or app_id="…", api_key="…"
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

    Conversations:
        `history` selects where the conversation is kept. By default, you keep it, and the answer
        depends only on the messages that you pass.

    Response metadata:
        `finish_reason`, `model_name` (the model that wrote the most), `token_usage`, `model_usage`
        (tokens per model), `session_id`, `request_id`, `app_id`, and `extra`: response fields that this
        version does not recognize.
        `additional_kwargs` contains the raw `thoughts` and `doc_references`.

    Raises:
        BailianError: The call failed; see `langchain_bailian_app.errors`.
        ValueError: An argument is invalid; no request was sent.
    """

    model_config = ConfigDict(populate_by_name=True)

    _not_deepcopied: ClassVar = ("rate_limiter", "cache", "session_store", "memory_ids")

    app_id: Id = Field(
        default_factory=from_env(
            "BAILIAN_APP_ID", error_message="missing `app_id`: pass it or set BAILIAN_APP_ID"
        ),
        validate_default=True,
    )
    """Id of the application, from the console's application list. Default: `BAILIAN_APP_ID`."""

    session_store: SessionStore | None = Field(default=None, exclude=True)
    """Store that decides whether a call may continue a session. Default: a store that all models in
    this process share."""

    files: Any = Field(default=None, exclude=True, repr=False)
    """`BailianFiles` client that uploads base64 data in content blocks (`file`, `image`, `audio` and
    `video`).

    Each block is uploaded once, as a session file. A call waits until its files are ready. A client
    without connection settings of its own, such as `BailianFiles()`, uses those of this model. Without
    a client, the data is sent in the request, which has fields only for images and files.
    """

    cache: BaseCache | bool | None = Field(default=False, exclude=True)
    """LangChain's response cache. It is off by default: a call that returns a cached answer adds no
    turn to its session and does not search the knowledge base."""

    @property
    def _llm_type(self) -> str:
        return "bailian-app"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        names = {"base_url", "workspace", "region", *CompletionFields.model_fields}
        # The dump excludes user tokens and signed URLs.
        non_defaults = self.model_dump(include=names, exclude_none=True, exclude_defaults=True)
        return {"app_id": self.app_id} | non_defaults

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = PROVIDER
        params["ls_model_name"] = kwargs.get("model") or self._requested_model(kwargs)
        return params

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        params = super()._get_invocation_params(stop=stop, **kwargs)
        return {"model": self._requested_model(kwargs)} | params

    @property
    def _serialized(self) -> dict[str, Any]:
        # OpenTelemetry's instrumentation reads the model of a request only here. Chainlit prefers
        # `model` of the invocation parameters, which may differ in each call.
        dump = super()._serialized
        return dump | {"kwargs": dump["kwargs"] | {"model_name": self._requested_model({})}}

    def _requested_model(self, kwargs: dict[str, Any]) -> str:
        """Return what tracers show as the model before the answer names the one that was used."""
        return kwargs.get("app_model") or self.app_model or self.app_id

    def _combine_llm_outputs(self, _llm_outputs: list[dict[str, Any] | None], /) -> dict[str, Any]:
        return combine_llm_outputs(_llm_outputs)

    def _resolve_model_profile(self) -> ModelProfile | None:
        return {
            "text_inputs": True,
            "image_inputs": True,
            "image_url_inputs": True,
            "text_outputs": True,
            "reasoning_output": True,
            "tool_calling": self.tool_calling is not None,
            "structured_output": False,
        }

    @field_validator("files")
    @classmethod
    def _check_files(cls, files: Any) -> Any:  # importing the class would import dashscope
        if files is not None and not hasattr(files, "aupload_local"):
            message = f"invalid `files`: expected a `BailianFiles`, got {type(files).__name__}"
            raise ValueError(message)
        return files

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
        from langchain_bailian_app.chat_models._delta_stream import stream_deltas

        call = self._prepare_call(messages, stop, kwargs)
        with closing(stream_deltas(call, self._create_transport())) as batches:
            for _ in batches:
                pass
        return call.response.build_result()

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
        from langchain_bailian_app.chat_models._delta_stream import astream_deltas

        call = self._prepare_call(messages, stop, kwargs)
        async with aclosing(astream_deltas(call, self._create_transport())) as batches:
            async for _ in batches:
                pass
        return call.response.build_result()

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Generator[ChatGenerationChunk]:
        chunks = self._iter_chunks(messages, stop, kwargs)
        return chunks if run_manager is None else notify_callbacks(chunks, run_manager)

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk]:
        chunks = self._aiter_chunks(messages, stop, kwargs)
        return chunks if run_manager is None else anotify_callbacks(chunks, run_manager)

    def _iter_chunks(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> Generator[ChatGenerationChunk]:
        from langchain_bailian_app.chat_models._delta_stream import stream_deltas
        from langchain_bailian_app.chat_models._messages import generation_chunks_from_deltas

        call = self._prepare_call(messages, stop, kwargs)
        with closing(stream_deltas(call, self._create_transport())) as batches:
            for deltas in batches:
                yield from generation_chunks_from_deltas(deltas)
        yield call.response.build_last_chunk()

    async def _aiter_chunks(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> AsyncGenerator[ChatGenerationChunk]:
        from langchain_bailian_app.chat_models._delta_stream import astream_deltas
        from langchain_bailian_app.chat_models._messages import generation_chunks_from_deltas

        call = self._prepare_call(messages, stop, kwargs)
        async with aclosing(astream_deltas(call, self._create_transport())) as batches:
            async for deltas in batches:
                for chunk in generation_chunks_from_deltas(deltas):
                    yield chunk
        yield call.response.build_last_chunk()

    def _prepare_call(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> "PreparedCall":
        from langchain_bailian_app.chat_models._call import prepare_call

        return prepare_call(
            self,
            messages,
            kwargs if stop is None else kwargs | {"stop": stop},
            app_id=self.app_id,
            files=None if self.files is None else self.files.with_connection_of(self),
            store=self.session_store,
            shown_warnings=self._shown_warnings,
        )

    def submit(self, input: LanguageModelInput, **kwargs: Any) -> "BailianRun":
        """Start a run of the application in the background, and return it as soon as it has an id.

        The run needs no open connection, so no gateway's time limit for a request ends it. Its object
        returns the status and the answer; see `langchain_bailian_app.runs`.

        ```python
        from langchain_bailian_app import BailianAppChatModel

        run = BailianAppChatModel().submit("什么是滞报金？")
        message = run.result()
        ```

        All messages are sent. Of the options, only `biz_params`, `image_list` and `file_list` can be
        sent over this route (the Responses route of applications, documented for Beijing only), and
        `stop` and `citation_markers` apply to the result. Settings about streams have no effect. Any
        other setting of the model or the call is an error, and so is a session file. Files are for
        agents, as URLs only. The config of a chain or graph is not read.

        The request is only repeated if the service certainly did not start a run. If its reply is lost,
        an error states that a run may exist. It is not retryable, because a second run may cost money.

        Args:
            input: A question or messages, as for `invoke`.
            kwargs: Options for this run: `biz_params`, `image_list`, `file_list`, `stop`,
                `citation_markers`.

        Raises:
            BailianError: The run was not started, or it is unknown whether it was.
            ValueError: An option or a part of a message is not supported by background runs, or the
                region does not offer them; nothing was sent.
            TypeError: An option is unknown.
        """
        from langchain_bailian_app.runs._run import BailianRun
        from langchain_bailian_app.runs._tracker import submit_run

        settings, request = self._prepare_run(input, kwargs)
        if self.rate_limiter is not None:
            self.rate_limiter.acquire(blocking=True)
        return BailianRun(submit_run(settings, request))

    async def asubmit(self, input: LanguageModelInput, **kwargs: Any) -> "BailianRun":
        """Async version of `submit`.

        If the task is cancelled while it waits for the reply, a run may exist too.
        """
        from langchain_bailian_app.runs._run import BailianRun
        from langchain_bailian_app.runs._tracker import asubmit_run

        settings, request = self._prepare_run(input, kwargs)
        if self.rate_limiter is not None:
            await self.rate_limiter.aacquire(blocking=True)
        return BailianRun(await asubmit_run(settings, request))

    def _prepare_run(
        self, input: LanguageModelInput, kwargs: dict[str, Any]
    ) -> "tuple[RunSettings, ServiceRequest]":
        from langchain_bailian_app.chat_models._background_runs import prepare_run

        messages = self._convert_input(input).to_messages()
        return prepare_run(self, messages, kwargs, app_id=self.app_id)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools that the caller runs; requires `tool_calling="prompt"`.

        Tool calling is emulated by prompting. A system message describes the tools, and calls are
        extracted from the text of the answer. Each call is removed from the text. In a stream, its name
        and id are in one chunk and its arguments in the next. A call that the answer only quotes is
        treated as a call too.

        The name and the JSON of each call are validated. An invalid call is in `invalid_tool_calls`,
        with the original text as `args`; the reason is in `response_metadata["tool_call_problems"]`.
        Arguments are not validated against the tool's schema, because the tool validates them itself.

        If all calls in an answer are invalid, or a required call is missing, the application is asked
        once more. The message keeps the text of the first answer. If `tool_choice` requires a call and
        the second answer has no valid one either, the call fails.

        Args:
            tools: Functions, pydantic classes, `BaseTool`s, or dicts in OpenAI format.
            tool_choice: `"auto"` (default), `"any"` or True (at least one tool must be called), the
                name of the tool that must be called, or `"none"`. Dicts in OpenAI or Anthropic format
                are accepted too.
            parallel_tool_calls: If False, the application is asked for one call at a time, and any
                further calls in an answer are invalid.
            kwargs: Options for every call: `memory_id`, `rag_options`, …

        Raises:
            NotImplementedError: `tool_calling="prompt"` is not set; the message lists the alternatives.
            ValueError: `tool_choice` is invalid, or a tool is not a function (for example, a provider's
                built-in tool). The returned runnable also raises it if a call uses a session.
            BailianError: Raised by the runnable if a required call is missing from the second answer
                too. Its `partial` is the answer.
        """
        if (kwargs.get("tool_calling") or self.tool_calling) is None:
            raise NotImplementedError(NO_TOOLS_MESSAGE)
        tool_kwargs = {
            "tools": [convert_to_openai_tool(tool) for tool in tools],
            "tool_choice": tool_choice,
        }
        tool_kwargs |= {"parallel_tool_calls": parallel_tool_calls}
        tool_prompt_from_kwargs(tool_kwargs)  # raises immediately if an argument is invalid
        bound_kwargs = {name: value for name, value in tool_kwargs.items() if value is not None}
        return super().bind(**bound_kwargs, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        include_raw: bool = False,
        method: Method = "json_schema",
        strict: bool | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Return a runnable that returns objects instead of messages.

        The service has no parameter for structured output and does not guarantee the format of answers.
        The schema is added to the last question, and the JSON in the answer is extracted and validated.
        If the answer does not match, the application is asked once more with a description of the
        errors, at the cost of a second call. If the second answer does not match either, the call
        fails. Structured output never uses a session, so sessions contain neither schemas nor invalid
        answers.

        While streaming, each item is the object received so far. For dicts and lists, only the last
        item is validated. Instances of a pydantic class are yielded only if they are valid.

        Args:
            schema: A pydantic class (the result is an instance), a `TypedDict` class or a JSON Schema
                (the result is a dict or a list). Without a pydantic class, types, required keys,
                enumerations and alternatives are validated, but not lengths, patterns or formats.
            include_raw: Return a dict with `raw` (the message), `parsed` and `parsing_error` instead of
                the object. If the second answer does not match either, no error is raised.
            method: `"json_schema"`, `"function_calling"` and `"prompt"` are equivalent: the schema is
                added to the question. With `"json_mode"`, the question only asks for a JSON object; the
                schema is optional and is used only for validation.
            strict: Ignored, because the service does not guarantee that an answer matches.
            kwargs: Options for every call: `memory_id`, `rag_options`, …

        Raises:
            ValueError: The schema or the method is invalid.
            TypeError: An option is unknown, or cannot be used with structured output.
            OutputParserException: Raised by the runnable if the second answer does not match either.
                Its `llm_output` is the text of that answer.
        """
        return StructuredOutput(self, schema, method=method, include_raw=include_raw, kwargs=kwargs)

    def get_token_ids(self, text: str) -> list[int]:
        """Return the Qwen token ids of `text`: an estimate, as the model may have another tokenizer."""
        return encode_tokens(text)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Estimate the number of tokens in the messages with the Qwen tokenizer, without a request.

        Images are not counted, nor are tokens that the application adds (its prompt, passages, memory).

        Raises:
            NotImplementedError: `tools` were passed, but `tool_calling` is not set.
        """
        if tools and self.tool_calling is None:
            raise NotImplementedError(NO_TOOLS_MESSAGE)
        if self.tool_calling is not None:
            prompt = tool_prompt_from_kwargs({"tools": tools})
            messages = prompt.add_instructions(messages) if prompt else render_tool_messages(messages)
        return count_message_tokens(messages)
