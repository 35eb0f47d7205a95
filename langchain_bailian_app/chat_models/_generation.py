"""Hooks that LangChain calls for a complete message or for chunks, in threads or on event loops.

The modules that run a call (`_call`, `_frame_stream`) are imported at the first call, because they
import dashscope, which takes longer to import than everything else.
"""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.chat_models import agenerate_from_stream, generate_from_stream
from pydantic import Field, field_validator

from langchain_bailian_app._settings.connection import Id
from langchain_bailian_app._transport.service_client_mixin import ServiceClientMixin
from langchain_bailian_app.chat_models._runnable import RunnableMethods
from langchain_bailian_app.sessions._store import SessionStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app.chat_models._call import PreparedCall
    from langchain_bailian_app.chat_models._response_builder import ResponseBuilder


class GenerationMethods(ServiceClientMixin, RunnableMethods):
    """Implementations of all four hooks, so that asynchronous calls do not fall back to threads."""

    app_id: Id

    session_store: SessionStore | None = Field(default=None, exclude=True)
    """Store that decides whether a call may continue a session. Default: one store that all models of
    this process share."""

    files: Any = Field(default=None, exclude=True, repr=False)
    """`BailianFiles` client that uploads the data of content blocks (`file`, `image`, `audio`, `video`
    with base64).

    Each block is uploaded once, as a session file, and a call waits until the files are ready. Without
    this client, data is sent in the request, which has fields for images and files only.
    """

    @field_validator("files")
    @classmethod
    def _check_files(cls, files: Any) -> Any:  # importing the class would import dashscope
        if files is not None and not hasattr(files, "aupload_local"):
            message = f"invalid `files`: expected a `BailianFiles`, got {type(files).__name__}"
            raise ValueError(message)
        return files

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if _has_token_handler(run_manager):
            return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))
        builder, batches = self._open_call(messages, stop, kwargs)
        with closing(batches):
            for frames in batches:
                builder.feed(frames)
        return builder.build_result()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if _has_token_handler(run_manager):
            return await agenerate_from_stream(self._astream(messages, stop, run_manager, **kwargs))
        builder, batches = await self._aopen_call(messages, stop, kwargs)
        async with aclosing(batches):
            async for frames in batches:
                builder.feed(frames)
        return builder.build_result()

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Generator[ChatGenerationChunk]:
        chunks = self._iter_chunks(messages, stop, kwargs)
        return chunks if run_manager is None else _notify_callbacks(chunks, run_manager)

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk]:
        chunks = self._aiter_chunks(messages, stop, kwargs)
        return chunks if run_manager is None else _anotify_callbacks(chunks, run_manager)

    def _iter_chunks(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> Generator[ChatGenerationChunk]:
        builder, batches = self._open_call(messages, stop, kwargs)
        with closing(batches):
            for frames in batches:
                yield from builder.chunks_from_frames(frames)
        yield from builder.build_last_chunks()

    async def _aiter_chunks(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> AsyncGenerator[ChatGenerationChunk]:
        builder, batches = await self._aopen_call(messages, stop, kwargs)
        async with aclosing(batches):
            async for frames in batches:
                for chunk in builder.chunks_from_frames(frames):
                    yield chunk
        for chunk in builder.build_last_chunks():
            yield chunk

    # -- shared --------------------------------------------------------------------------------------

    def _open_call(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[ResponseBuilder, Generator[list[Frame]]]:
        from langchain_bailian_app.chat_models._frame_stream import stream_frames

        call = self._prepare_call(stop, kwargs)
        if self.files is not None:
            from langchain_bailian_app.files._inline_files import upload_inline_files

            messages = upload_inline_files(self.files, messages)
        tracker, builder = call.create_tracker_and_builder(
            messages, self.app_id, self._resolve_connection()
        )
        return builder, stream_frames(tracker, self._create_transport(), call.store, builder)

    async def _aopen_call(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[ResponseBuilder, AsyncGenerator[list[Frame]]]:
        from langchain_bailian_app.chat_models._frame_stream import astream_frames

        call = self._prepare_call(stop, kwargs)
        if self.files is not None:
            from langchain_bailian_app.files._inline_files import aupload_inline_files

            messages = await aupload_inline_files(self.files, messages)
        tracker, builder = call.create_tracker_and_builder(
            messages, self.app_id, self._resolve_connection()
        )
        return builder, astream_frames(tracker, self._create_transport(), call.store, builder)

    def _prepare_call(self, stop: list[str] | None, kwargs: dict[str, Any]) -> PreparedCall:
        from langchain_bailian_app.chat_models._call import prepare_call

        call_kwargs = kwargs if stop is None else kwargs | {"stop": stop}
        return prepare_call(self, self.session_store, call_kwargs)


def _has_token_handler(
    run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None,
) -> bool:
    """Return whether a handler listens for tokens.

    Such a handler gets them from `invoke` too, because calls are streams on the wire by default.
    """
    return run_manager is not None and any(
        type(handler).on_llm_new_token is not BaseCallbackHandler.on_llm_new_token
        and not handler.ignore_llm
        for handler in run_manager.handlers
    )


def _notify_callbacks(
    chunks: Generator[ChatGenerationChunk], run_manager: CallbackManagerForLLMRun
) -> Generator[ChatGenerationChunk]:
    """Yield the chunks, after passing each one to the callback handlers."""
    with closing(chunks):
        for chunk in chunks:
            run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


async def _anotify_callbacks(
    chunks: AsyncGenerator[ChatGenerationChunk], run_manager: AsyncCallbackManagerForLLMRun
) -> AsyncGenerator[ChatGenerationChunk]:
    """Async version of `_notify_callbacks`."""
    async with aclosing(chunks):
        async for chunk in chunks:
            await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
