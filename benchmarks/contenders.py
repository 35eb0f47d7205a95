"""What is measured: each way to read a stream, behind the same two methods.

Each imports what it needs when it is made, so that none carries the weight of another.
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
KEY = "sk-benchmark"
os.environ["DASHSCOPE_API_KEY"] = KEY


class Subject:
    """A way to read a stream; `script` names the reply, see `server`."""

    parallel = 100_000
    """How many streams it may be given at once."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def stream(self, script: str) -> Iterator[Any]:
        """Read a reply, yield what comes."""
        raise NotImplementedError

    def astream(self, script: str) -> AsyncIterator[Any]:
        """Do so on an event loop."""
        raise NotImplementedError


class RawHttpx(Subject):
    """httpx and orjson, and nothing else: the least that its users pay."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        import httpx

        self._limits = httpx.Limits(max_connections=None)
        self._client = httpx.Client(limits=self._limits, timeout=60)
        self._async_client = cache(lambda _: httpx.AsyncClient(limits=self._limits, timeout=60))

    def stream(self, script: str) -> Iterator[Any]:
        from orjson import loads

        with self._client.stream("POST", f"{self.origin}/{script}/completion", json=BODY) as response:
            for data in response.iter_bytes():
                for line in data.split(b"\n"):
                    if line.startswith(b"data:"):
                        yield loads(line[5:])["output"]["text"]

    async def astream(self, script: str) -> AsyncIterator[Any]:
        from orjson import loads

        client = self._async_client(asyncio.get_running_loop())
        async with client.stream("POST", f"{self.origin}/{script}/completion", json=BODY) as response:
            async for data in response.aiter_bytes():
                for line in data.split(b"\n"):
                    if line.startswith(b"data:"):
                        yield loads(line[5:])["output"]["text"]


class RawAiohttp(Subject):
    """aiohttp and orjson, and nothing else."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        import aiohttp

        self._session = cache(lambda _: aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))

    async def astream(self, script: str) -> AsyncIterator[Any]:
        from orjson import loads

        session = self._session(asyncio.get_running_loop())
        async with session.post(f"{self.origin}/{script}/completion", json=BODY) as response:
            async for data in response.content.iter_any():
                for line in data.split(b"\n"):
                    if line.startswith(b"data:"):
                        yield loads(line[5:])["output"]["text"]


class Sdk(Subject):
    """The events of dashscope's own clients, without LangChain."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        import dashscope

        self._client = cache(lambda script: dashscope.Client(base_url=f"{origin}/{script}/api/v1"))
        self._async_client = cache(
            lambda script, _: dashscope.AsyncClient(base_url=f"{origin}/{script}/api/v1")
        )

    def stream(self, script: str) -> Iterator[Any]:
        completions = self._client(script).apps.completions
        for event in completions.create(app_id="app", prompt=QUERY, stream=True):
            yield event.text

    async def astream(self, script: str) -> AsyncIterator[Any]:
        completions = self._async_client(script, asyncio.get_running_loop()).apps.completions
        async for event in await completions.create(app_id="app", prompt=QUERY, stream=True):
            yield event.text


class LangChain(Subject):
    """Any chat model of LangChain."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self.model: Callable[[str], Any] = cache(self.make)

    def make(self, script: str) -> Any:
        """Return a model that gets this reply."""
        raise NotImplementedError

    def stream(self, script: str) -> Iterator[Any]:
        return self.model(script).stream(QUERY)

    def astream(self, script: str) -> AsyncIterator[Any]:
        return self.model(script).astream(QUERY)


class Ours(LangChain):
    """This package."""

    def make(self, script: str) -> Any:
        from langchain_bailian_app import BailianAppChatModel

        return BailianAppChatModel(app_id="app", base_url=f"{self.origin}/{script}/api/v1")


class Floor(LangChain):
    """What LangChain itself costs: chunks from memory, no network and no JSON."""

    def make(self, script: str) -> Any:
        from langchain_baseline import model_of

        frames, _, pace = script.partition("-")[0].partition("x")
        return model_of(int(frames), float(pace) / 1000)


class Tongyi(LangChain):
    """`ChatTongyi` of langchain-community, for models."""

    def make(self, _: str) -> Any:
        from langchain_community.chat_models import ChatTongyi

        return ChatTongyi(model="qwen-max", streaming=True)

    def _point(self, script: str) -> None:
        import dashscope

        dashscope.base_http_api_url = f"{self.origin}/{script}/api/v1"

    def stream(self, script: str) -> Iterator[Any]:
        self._point(script)
        return super().stream(script)

    def astream(self, script: str) -> AsyncIterator[Any]:
        self._point(script)
        return super().astream(script)


class OpenAI(LangChain):
    """`ChatOpenAI`."""

    def make(self, script: str) -> Any:
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(model="qwen-max", api_key=KEY, base_url=f"{self.origin}/{script}/v1")


class Qwen(LangChain):
    """`ChatQwen` of langchain-qwq."""

    def make(self, script: str) -> Any:
        from langchain_qwq import ChatQwen

        return ChatQwen(model="qwen-max", api_key=KEY, base_url=f"{self.origin}/{script}/v1")


BODY = {"input": {"prompt": QUERY}, "parameters": {"incremental_output": True}}
SUBJECTS: dict[str, tuple[str, type[Subject]]] = {
    "aiohttp": ("aiohttp + orjson", RawAiohttp),
    "httpx": ("httpx + orjson", RawHttpx),
    "sdk": ("`dashscope` events, no LangChain", Sdk),
    "floor": ("LangChain, chunks from memory", Floor),
    "ours": ("`BailianAppChatModel`", Ours),
    "tongyi": ("`ChatTongyi`", Tongyi),
    "openai": ("`ChatOpenAI`", OpenAI),
    "qwen": ("`ChatQwen`", Qwen),
}


def read(subject: Subject, script: str) -> int:
    """Read a reply to its end, return how many pieces came."""
    return sum(1 for _ in subject.stream(script))


async def aread(subject: Subject, script: str) -> tuple[int, float]:
    """Do so on an event loop; return also when the first piece came."""
    pieces, first = 0, 0.0
    async for _ in subject.astream(script):
        if not pieces:
            first = time.perf_counter()
        pieces += 1
    return pieces, first


def first_piece(subject: Subject, script: str) -> float:
    """Return how many seconds the first piece takes to come; the rest is read, but not counted."""
    started = time.perf_counter()
    pieces = subject.stream(script)
    next(pieces)
    seconds = time.perf_counter() - started
    for _ in pieces:
        pass
    return seconds


async def afirst_piece(subject: Subject, script: str) -> float:
    """Do so on an event loop."""
    started = time.perf_counter()
    pieces = subject.astream(script)
    await anext(pieces)
    seconds = time.perf_counter() - started
    async for _ in pieces:
        pass
    return seconds
