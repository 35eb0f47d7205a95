"""Chat model with chunks from memory, to measure the cost of LangChain alone."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from server import TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class InMemoryChatModel(BaseChatModel):
    """Chat model that answers with tokens from memory."""

    frames: int
    pace: float

    @property
    def _llm_type(self) -> str:
        return "baseline"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        message = AIMessage(TOKEN * self.frames)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
        return self._generate()

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        for _number in range(self.frames):
            yield ChatGenerationChunk(message=AIMessageChunk(content=TOKEN))
            if self.pace:
                time.sleep(self.pace)

    async def _astream(self, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        due = time.perf_counter()
        for _number in range(self.frames):
            yield ChatGenerationChunk(message=AIMessageChunk(content=TOKEN))
            if self.pace:
                due += self.pace
                await asyncio.sleep(max(0.0, due - time.perf_counter()))


def create_in_memory_model(frames: int, pace: float) -> InMemoryChatModel:
    """Return a model whose answers have this number of chunks, `pace` seconds apart."""
    return InMemoryChatModel(frames=frames, pace=pace)
