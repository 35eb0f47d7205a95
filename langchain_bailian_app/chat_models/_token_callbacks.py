"""Callbacks for the chunks of a stream, shared by the chat models."""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING

from langchain_core.callbacks import BaseCallbackHandler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.outputs import ChatGenerationChunk


def has_token_handler(
    run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None,
) -> bool:
    """Return whether a handler listens for tokens.

    Such a handler receives tokens from `invoke` too, because `invoke` streams internally by default.
    """
    return run_manager is not None and any(
        type(handler).on_llm_new_token is not BaseCallbackHandler.on_llm_new_token
        and not handler.ignore_llm
        for handler in run_manager.handlers
    )


def notify_callbacks(
    chunks: Generator[ChatGenerationChunk], run_manager: CallbackManagerForLLMRun
) -> Generator[ChatGenerationChunk]:
    """Pass each chunk to the callback handlers, then yield it."""
    with closing(chunks):
        for chunk in chunks:
            run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


async def anotify_callbacks(
    chunks: AsyncGenerator[ChatGenerationChunk], run_manager: AsyncCallbackManagerForLLMRun
) -> AsyncGenerator[ChatGenerationChunk]:
    """Async version of `notify_callbacks`."""
    async with aclosing(chunks):
        async for chunk in chunks:
            await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
