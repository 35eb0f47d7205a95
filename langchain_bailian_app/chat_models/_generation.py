"""The hooks by which LangChain calls a model: a whole message or chunks, in threads or on event loops.

What a call consists of (`_asking`, `_dialogue`) is imported at the first one: it knows dashscope, which
takes longer to import than all the rest.
"""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.chat_models import agenerate_from_stream, generate_from_stream
from pydantic import Field, field_validator

from langchain_bailian_app._settings.connection import Id
from langchain_bailian_app._transport.client_mixin import Connected
from langchain_bailian_app.chat_models._runnable import EntryPoints
from langchain_bailian_app.sessions._store import SessionStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app.chat_models._call import Asking
    from langchain_bailian_app.chat_models._response import ReplyReader


class Hooks(Connected, EntryPoints):
    """Overrides all four, so that nothing is done in a thread that an event loop can do."""

    app_id: Id

    session_store: SessionStore | None = Field(default=None, exclude=True)
    """Who may continue which session. Default: one that all models of this process share."""

    files: Any = Field(default=None, exclude=True, repr=False)
    """A `BailianFiles`: uploads the data of content blocks (`file`, `image`, `audio`, `video` with
    base64) as session files, each once, and waits until they are ready to be asked about.

    Without it data goes along in the request, where only images and files have a place.
    """

    @field_validator("files")
    @classmethod
    def _check_files(cls, files: Any) -> Any:  # whose class would import dashscope
        if files is not None and not hasattr(files, "aupload_local"):
            message = f"`files` takes a `BailianFiles`, not a {type(files).__name__}"
            raise ValueError(message)
        return files

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if _wants_tokens(run_manager):
            return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))
        reply, reads = self._call(messages, stop, kwargs)
        with closing(reads):
            for frames in reads:
                reply.read(frames)
        return reply.result()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if _wants_tokens(run_manager):
            return await agenerate_from_stream(self._astream(messages, stop, run_manager, **kwargs))
        reply, reads = await self._acall(messages, stop, kwargs)
        async with aclosing(reads):
            async for frames in reads:
                reply.read(frames)
        return reply.result()

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Generator[ChatGenerationChunk]:
        chunks = self._chunks(messages, stop, kwargs)
        return chunks if run_manager is None else _told(chunks, run_manager)

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk]:
        chunks = self._achunks(messages, stop, kwargs)
        return chunks if run_manager is None else _atold(chunks, run_manager)

    def _chunks(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> Generator[ChatGenerationChunk]:
        reply, reads = self._call(messages, stop, kwargs)
        with closing(reads):
            for frames in reads:
                yield from reply.chunks(frames)
        yield from reply.last_chunks()

    async def _achunks(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> AsyncGenerator[ChatGenerationChunk]:
        reply, reads = await self._acall(messages, stop, kwargs)
        async with aclosing(reads):
            async for frames in reads:
                for chunk in reply.chunks(frames):
                    yield chunk
        for chunk in reply.last_chunks():
            yield chunk

    # -- what they share -----------------------------------------------------------------------------

    def _call(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[ReplyReader, Generator[list[Frame]]]:
        from langchain_bailian_app.chat_models._frame_stream import read
        from langchain_bailian_app.files._inline_files import uploaded

        asking = self._asking(stop, kwargs)
        messages = uploaded(self.files, messages)
        exchange, reply = asking.sides(messages, self.app_id, self._connection())
        return reply, read(exchange, self._transport(), asking.store, reply)

    async def _acall(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[ReplyReader, AsyncGenerator[list[Frame]]]:
        from langchain_bailian_app.chat_models._frame_stream import aread
        from langchain_bailian_app.files._inline_files import auploaded

        asking = self._asking(stop, kwargs)
        messages = await auploaded(self.files, messages)
        exchange, reply = asking.sides(messages, self.app_id, self._connection())
        return reply, aread(exchange, self._transport(), asking.store, reply)

    def _asking(self, stop: list[str] | None, kwargs: dict[str, Any]) -> Asking:
        from langchain_bailian_app.chat_models._call import asking

        keywords = kwargs if stop is None else kwargs | {"stop": stop}
        return asking(self, self.session_store, keywords)


def _wants_tokens(
    run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None,
) -> bool:
    """Whether a handler listens for tokens: they come anyway, as every call is a stream."""
    return run_manager is not None and any(
        type(handler).on_llm_new_token is not BaseCallbackHandler.on_llm_new_token
        and not handler.ignore_llm
        for handler in run_manager.handlers
    )


def _told(
    chunks: Generator[ChatGenerationChunk], run_manager: CallbackManagerForLLMRun
) -> Generator[ChatGenerationChunk]:
    """Tell the handlers of each chunk."""
    with closing(chunks):
        for chunk in chunks:
            run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


async def _atold(
    chunks: AsyncGenerator[ChatGenerationChunk], run_manager: AsyncCallbackManagerForLLMRun
) -> AsyncGenerator[ChatGenerationChunk]:
    """Do what `_told` does, on the running event loop."""
    async with aclosing(chunks):
        async for chunk in chunks:
            await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
