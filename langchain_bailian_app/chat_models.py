"""`BailianAppChatModel`: an application of Bailian (百炼) as a LangChain chat model."""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

from langchain_core.caches import BaseCache
from langchain_core.language_models.chat_models import agenerate_from_stream, generate_from_stream
from langchain_core.utils import from_env
from pydantic import ConfigDict, Field, model_validator

from langchain_bailian_app._application_fields import NO_TOOLS, ApplicationFields
from langchain_bailian_app._blocks import PROVIDER
from langchain_bailian_app._connected import Connected
from langchain_bailian_app._connection_fields import Id
from langchain_bailian_app._dialogue import aread, read
from langchain_bailian_app._entry import EntryPoints, memory_of
from langchain_bailian_app._exchange import Exchange
from langchain_bailian_app._reply import ReplyReader, wants_tokens
from langchain_bailian_app._structured import Method, StructuredOutput
from langchain_bailian_app._tokens import count_message_tokens, token_ids
from langchain_bailian_app._uploaded import auploaded, uploaded
from langchain_bailian_app._version import __version__
from langchain_bailian_app.files import BailianFiles
from langchain_bailian_app.sessions import SHARED_STORE, SessionStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LangSmithParams, LanguageModelInput, ModelProfile
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from langchain_core.runnables import Runnable
    from pydantic import BaseModel

    from langchain_bailian_app._frames import Frame


class BailianAppChatModel(Connected, EntryPoints):
    """An application of Bailian (百炼, Alibaba Cloud Model Studio) as a chat model.

    Setup:
        ```bash
        pip install langchain-bailian-app
        export DASHSCOPE_API_KEY=... BAILIAN_APP_ID=...
        ```

    Key init args:
        `app_id`, `api_key`, `workspace`, `base_url`: where the application is.
        `rag_options`, `biz_params`, `memory_id`, `enable_thinking`, `has_thoughts`: what to ask of it.
        `citation_markers`, `stop`: what becomes of its answer.
        All but the connection may also be given per call: `model.invoke("…", memory_id="…")`.

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel

        model = BailianAppChatModel(app_id="…")
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

    Conversations:
        `history` says who keeps them; by default the answer depends on the messages alone.

    Response metadata:
        `finish_reason`, `model_name`, `model_usage` (tokens of each model), `session_id`, `request_id`,
        `app_id`, and `extra`: fields of the service that this version does not know.
        `additional_kwargs` has the raw `thoughts` and `doc_references`.

    Raises:
        BailianError: The call failed; see `langchain_bailian_app.errors`.
        ValueError: An argument is wrong; nothing was sent.
    """

    model_config = ConfigDict(populate_by_name=True)

    _shared_by_copies: ClassVar = ("rate_limiter", "cache", "session_store", "memory_ids")

    app_id: Id = Field(
        default_factory=from_env(
            "BAILIAN_APP_ID", error_message="give `app_id` or set the variable BAILIAN_APP_ID"
        ),
        validate_default=True,
    )
    """Id of the application, from the console's application list. Default: `BAILIAN_APP_ID`."""

    cache: BaseCache | bool | None = Field(default=False, exclude=True)
    """LangChain's cache of answers, off by default: a cached answer adds no turn to a session and does
    not ask the knowledge base again."""

    session_store: SessionStore | None = Field(default=None, exclude=True)
    """Who may continue which session. Default: one that all models of this process share."""

    files: BailianFiles | None = Field(default=None, exclude=True, repr=False)
    """Uploads the data of content blocks (`file`, `image`, `audio`, `video` with base64) as session
    files, each once, and waits until they are ready; the application is then asked about them.

    Without it data goes along in the request, where only images and files have a place.
    """

    # -- the four hooks ------------------------------------------------------------------------------

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if wants_tokens(run_manager):
            return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))
        reply, frames = self._call(messages, stop, kwargs)
        with closing(frames):
            for frame in frames:
                reply.read(frame)
        return reply.result()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if wants_tokens(run_manager):
            return await agenerate_from_stream(self._astream(messages, stop, run_manager, **kwargs))
        reply, frames = await self._acall(messages, stop, kwargs)
        async with aclosing(frames):
            async for frame in frames:
                reply.read(frame)
        return reply.result()

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Generator[ChatGenerationChunk]:
        for chunk in self._chunks(messages, stop, kwargs):
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk]:
        async with aclosing(self._achunks(messages, stop, kwargs)) as chunks:
            async for chunk in chunks:
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    def _chunks(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> Generator[ChatGenerationChunk]:
        reply, frames = self._call(messages, stop, kwargs)
        with closing(frames):
            for frame in frames:
                yield from reply.chunks(frame)
        yield from reply.last_chunks()

    async def _achunks(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> AsyncGenerator[ChatGenerationChunk]:
        reply, frames = await self._acall(messages, stop, kwargs)
        async with aclosing(frames):
            async for frame in frames:
                for chunk in reply.chunks(frame):
                    yield chunk
        for chunk in reply.last_chunks():
            yield chunk

    # -- what they share -----------------------------------------------------------------------------

    def _call(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[ReplyReader, Generator[Frame]]:
        options, store = self._asked(stop, kwargs)
        exchange, reply = self._exchange(uploaded(self.files, messages), options)
        return reply, read(exchange, self._transport(), store, reply)

    async def _acall(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[ReplyReader, AsyncGenerator[Frame]]:
        options, store = self._asked(stop, kwargs)
        exchange, reply = self._exchange(await auploaded(self.files, messages), options)
        return reply, aread(exchange, self._transport(), store, reply)

    def _asked(
        self, stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[ApplicationFields, SessionStore]:
        """Return what a call asks for, checked before anything is sent."""
        options = self.overlaid(kwargs if stop is None else kwargs | {"stop": stop})
        if options.history == "thread" and self.session_store is None:
            message = (
                "`history='thread'` needs a `session_store`: what it remembers is all there is of the "
                "conversation"
            )
            raise ValueError(message)
        if self.memory_ids is not None and options.memory_id is None:
            memory_of(None, self.memory_ids)  # `generate` passes by where the config is read
        return options, SHARED_STORE if self.session_store is None else self.session_store

    def _exchange(
        self, messages: Sequence[BaseMessage], options: ApplicationFields
    ) -> tuple[Exchange, ReplyReader]:
        exchange = Exchange(messages, options, app_id=self.app_id, connection=self._connection())
        return exchange, ReplyReader(self.app_id, options)

    # -- what LangChain asks of a model --------------------------------------------------------------

    @property
    def _llm_type(self) -> str:
        return "bailian-app"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        names = {"base_url", "workspace", "region", *ApplicationFields.model_fields}
        # Tokens and signed URLs are in no dump.
        set_ones = self.model_dump(include=names, exclude_none=True, exclude_defaults=True)
        return {"app_id": self.app_id} | set_ones

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = PROVIDER
        params["ls_model_name"] = kwargs.get("model") or self.app_id
        return params

    def _resolve_model_profile(self) -> ModelProfile | None:
        return {
            "text_inputs": True,
            "image_inputs": True,
            "image_url_inputs": True,
            "text_outputs": True,
            "reasoning_output": True,
            "tool_calling": False,
            "structured_output": False,
        }

    @model_validator(mode="after")
    def _set_bailian_app_version(self) -> Self:
        self._add_version("langchain-bailian-app", __version__)
        return self

    def bind_tools(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: an application's tools are its own.

        Raises:
            NotImplementedError: Always; it says what to do instead.
        """
        raise NotImplementedError(NO_TOOLS)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        include_raw: bool = False,
        method: Method = "json_schema",
        strict: bool | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Return a runnable that answers with objects instead of messages.

        The service has no parameter for it, and guarantees nothing: the last question tells the schema
        in words, and the JSON in the answer is looked for and checked. An answer that does not fit is
        asked for once more, with what is wrong, which costs a second call; then it is an error. No
        session is ever used: neither the schema nor a bad answer is to stand in it.

        While streaming, each part is all that has come so far, unchecked; the last part is checked.

        Args:
            schema: A pydantic class (the result is an instance), a `TypedDict` class or a JSON Schema
                (the result is a dict or a list). Of these two the shape is checked: types, required
                keys, enumerations, alternatives; not lengths, patterns or formats.
            include_raw: Return a dict of `raw`, the message, `parsed` and `parsing_error`.
            method: `"json_schema"` and `"prompt"` are the same. `"json_mode"` only asks for a JSON
                object; a schema is then checked, but not told, and may be left out.
            strict: No effect: nothing can be promised.
            kwargs: Keywords of every call: `memory_id`, `rag_options`, …

        Raises:
            ValueError: The schema or the method is none.
            OutputParserException: From the runnable: the second answer does not fit either. It is in
                `llm_output`.
        """
        return StructuredOutput(self, schema, method=method, include_raw=include_raw, keywords=kwargs)

    def get_token_ids(self, text: str) -> list[int]:
        """Return the tokens of a text by the Qwen tokenizer: an estimate, as the model may differ."""
        return token_ids(text)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Return an estimate of the tokens of messages, by the Qwen tokenizer, without a request.

        What the application adds (its prompt, passages, memory) is not counted, nor are images.
        """
        if tools:
            raise NotImplementedError(NO_TOOLS)
        return count_message_tokens(messages)
