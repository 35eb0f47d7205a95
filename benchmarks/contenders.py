"""Contenders of the benchmarks: ways to read a stream, with the same two methods.

Each contender imports its packages when it is created, so that none pays for the imports of another.
"""

from __future__ import annotations

import asyncio
import os
import time
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

QUERY = "什么是滞报金？"
API_KEY = "sk-benchmark"
os.environ["DASHSCOPE_API_KEY"] = API_KEY


class Contender:
    """A way to read a stream; see `server` for the format of `reply_name`."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def stream(self, reply_name: str) -> Iterator[Any]:
        """Yield the chunks of a reply."""
        raise NotImplementedError

    def astream(self, reply_name: str) -> AsyncIterator[Any]:
        """Async version of `stream`."""
        raise NotImplementedError


class RawHttpx(Contender):
    """httpx and orjson only: the minimum cost for users of httpx."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        import httpx

        self._limits = httpx.Limits(max_connections=None)
        self._client = httpx.Client(limits=self._limits, timeout=60)
        self._async_client = cache(lambda _: httpx.AsyncClient(limits=self._limits, timeout=60))

    def stream(self, reply_name: str) -> Iterator[Any]:
        from orjson import loads

        with self._client.stream(
            "POST", f"{self.origin}/{reply_name}/completion", json=REQUEST_BODY
        ) as response:
            for block in response.iter_bytes():
                for line in block.split(b"\n"):
                    if line.startswith(b"data:"):
                        yield loads(line[5:])["output"]["text"]

    async def astream(self, reply_name: str) -> AsyncIterator[Any]:
        from orjson import loads

        client = self._async_client(asyncio.get_running_loop())
        async with client.stream(
            "POST", f"{self.origin}/{reply_name}/completion", json=REQUEST_BODY
        ) as response:
            async for block in response.aiter_bytes():
                for line in block.split(b"\n"):
                    if line.startswith(b"data:"):
                        yield loads(line[5:])["output"]["text"]


class RawAiohttp(Contender):
    """aiohttp and orjson only."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        import aiohttp

        self._session = cache(lambda _: aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))

    async def astream(self, reply_name: str) -> AsyncIterator[Any]:
        from orjson import loads

        session = self._session(asyncio.get_running_loop())
        async with session.post(
            f"{self.origin}/{reply_name}/completion", json=REQUEST_BODY
        ) as response:
            async for block in response.content.iter_any():
                for line in block.split(b"\n"):
                    if line.startswith(b"data:"):
                        yield loads(line[5:])["output"]["text"]


class DashscopeSdk(Contender):
    """Events of dashscope's own clients, without LangChain."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        import dashscope

        self._client = cache(
            lambda reply_name: dashscope.Client(base_url=f"{origin}/{reply_name}/api/v1")
        )
        self._async_client = cache(
            lambda reply_name, _: dashscope.AsyncClient(base_url=f"{origin}/{reply_name}/api/v1")
        )

    def stream(self, reply_name: str) -> Iterator[Any]:
        completions = self._client(reply_name).apps.completions
        for event in completions.create(app_id="app", prompt=QUERY, stream=True):
            yield event.text

    async def astream(self, reply_name: str) -> AsyncIterator[Any]:
        completions = self._async_client(reply_name, asyncio.get_running_loop()).apps.completions
        async for event in await completions.create(app_id="app", prompt=QUERY, stream=True):
            yield event.text


class LangChainContender(Contender):
    """Base class for chat models of LangChain."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self.model: Callable[[str], Any] = cache(self.create_model)

    def create_model(self, reply_name: str) -> Any:
        """Return a model that receives this reply."""
        raise NotImplementedError

    def stream(self, reply_name: str) -> Iterator[Any]:
        return self.model(reply_name).stream(QUERY)

    def astream(self, reply_name: str) -> AsyncIterator[Any]:
        return self.model(reply_name).astream(QUERY)


class BailianApp(LangChainContender):
    """This package."""

    def create_model(self, reply_name: str) -> Any:
        from langchain_bailian_app import BailianAppChatModel

        return BailianAppChatModel(app_id="app", base_url=f"{self.origin}/{reply_name}/api/v1")


class LangChainBaseline(LangChainContender):
    """The cost of LangChain itself: chunks from memory, without network or JSON."""

    def create_model(self, reply_name: str) -> Any:
        from langchain_baseline import create_in_memory_model

        frames, _, pace = reply_name.partition("-")[0].partition("x")
        return create_in_memory_model(int(frames), float(pace) / 1000)


class ChatTongyiContender(LangChainContender):
    """`ChatTongyi` of langchain-community, which calls models."""

    def create_model(self, _: str) -> Any:
        from langchain_community.chat_models import ChatTongyi

        return ChatTongyi(model="qwen-max", streaming=True)

    def _set_base_url(self, reply_name: str) -> None:
        import dashscope

        dashscope.base_http_api_url = f"{self.origin}/{reply_name}/api/v1"

    def stream(self, reply_name: str) -> Iterator[Any]:
        self._set_base_url(reply_name)
        return super().stream(reply_name)

    def astream(self, reply_name: str) -> AsyncIterator[Any]:
        self._set_base_url(reply_name)
        return super().astream(reply_name)


class ChatOpenAIContender(LangChainContender):
    """`ChatOpenAI`."""

    def create_model(self, reply_name: str) -> Any:
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(model="qwen-max", api_key=API_KEY, base_url=f"{self.origin}/{reply_name}/v1")


class ChatQwenContender(LangChainContender):
    """`ChatQwen` of langchain-qwq."""

    def create_model(self, reply_name: str) -> Any:
        from langchain_qwq import ChatQwen

        return ChatQwen(model="qwen-max", api_key=API_KEY, base_url=f"{self.origin}/{reply_name}/v1")


REQUEST_BODY = {"input": {"prompt": QUERY}, "parameters": {"incremental_output": True}}
CONTENDERS: dict[str, tuple[str, type[Contender]]] = {
    "aiohttp": ("aiohttp + orjson", RawAiohttp),
    "httpx": ("httpx + orjson", RawHttpx),
    "sdk": ("`dashscope` events, no LangChain", DashscopeSdk),
    "baseline": ("LangChain, chunks from memory", LangChainBaseline),
    "ours": ("`BailianAppChatModel`", BailianApp),
    "tongyi": ("`ChatTongyi`", ChatTongyiContender),
    "openai": ("`ChatOpenAI`", ChatOpenAIContender),
    "qwen": ("`ChatQwen`", ChatQwenContender),
}


def read_stream(contender: Contender, reply_name: str) -> int:
    """Read a reply to its end and return the number of chunks."""
    return sum(1 for _ in contender.stream(reply_name))


async def aread_stream(contender: Contender, reply_name: str) -> tuple[int, float]:
    """Read a reply on an event loop; return the number of chunks and the arrival time of the first."""
    chunks, first_chunk_at = 0, 0.0
    async for _ in contender.astream(reply_name):
        if not chunks:
            first_chunk_at = time.perf_counter()
        chunks += 1
    return chunks, first_chunk_at


def time_to_first_chunk(contender: Contender, reply_name: str) -> float:
    """Return the seconds until the first chunk; the rest is read, but not measured."""
    started = time.perf_counter()
    chunks = contender.stream(reply_name)
    next(chunks)
    seconds = time.perf_counter() - started
    for _ in chunks:
        pass
    return seconds


async def atime_to_first_chunk(contender: Contender, reply_name: str) -> float:
    """Async version of `time_to_first_chunk`."""
    started = time.perf_counter()
    chunks = contender.astream(reply_name)
    await anext(chunks)
    seconds = time.perf_counter() - started
    async for _ in chunks:
        pass
    return seconds
