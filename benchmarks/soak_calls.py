"""Calls of the soak: each kind of call, in threads and on event loops, with the errors that it expects.

`Caller` is one user of the package. A call that fails with an error that it does not expect raises it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.messages import HumanMessage
from soak_emulator import BUSY, FAULTY, SLOW, STREAM_ERROR

from langchain_bailian_app import (
    BailianAppChatModel,
    BailianAppTool,
    BailianRetriever,
    InMemorySessionStore,
)
from langchain_bailian_app.emulator._apps import samples
from langchain_bailian_app.errors import BailianError, BailianSessionError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from langchain_core.messages import AIMessage, BaseMessage

    from langchain_bailian_app.sessions import SessionStore

QUESTIONS = ("什么是滞报金？", "什么是保税？", "原产地证有什么用？", "HS编码有几位？", "谢谢。")
THREADS = 40
TURNS = 4
# An hour of the session store's clock takes 30 seconds. Interrupted calls leave claims for an hour.
CLOCK_SPEED = 120
MAX_SESSIONS = 200


class Service(NamedTuple):
    """Addresses of the servers that the calls use."""

    base_url: str
    api_key: str
    redis_url: str | None


def _fast_clock() -> float:
    return time.monotonic() * CLOCK_SPEED


@contextmanager
def expect(*errors: type[BaseException]) -> Iterator[None]:
    """Accept these errors, and no other."""
    with suppress(*errors):
        yield


class Objects:
    """Models, stores, retrievers and tools that all callers share."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.stores: list[SessionStore] = [
            InMemorySessionStore(max_sessions=MAX_SESSIONS, clock=_fast_clock)
        ]
        if service.redis_url is not None:
            self.stores.append(self.create_redis_store())
        self.model = self.create_model()
        self.workflow = self.create_model(
            samples.WORKFLOW_APP_ID, biz_params={"city": "杭州"}, flow_stream_mode="message_format"
        )
        self.plain = self.create_model(streaming=False)
        self.slow = self.create_model(SLOW, total_timeout=0.1)
        self.unlimited_slow = self.create_model(SLOW)
        self.busy = self.create_model(BUSY, max_retries=1)
        self.faulty = self.create_model(FAULTY, timeout=0.3, total_timeout=0.6, max_retries=0)
        self.stream_error = self.create_model(STREAM_ERROR)
        self.wrong_key = self.create_model(api_key="sk-wrong")
        self.sessions = [
            self.create_model(history="session", session_store=store) for store in self.stores
        ]
        self.threads = [
            self.create_model(history="thread", session_store=store) for store in self.stores
        ]
        self.failing_sessions = [
            self.create_model(
                app_id,
                history="session",
                session_store=store,
                timeout=0.3,
                total_timeout=0.6,
                max_retries=0,
            )
            for store in self.stores
            for app_id in (FAULTY, STREAM_ERROR)
        ]
        connection = {"base_url": service.base_url, "api_key": service.api_key}
        self.retrievers = [
            BailianRetriever(app_id=samples.CUSTOMS_APP_ID, **connection),
            BailianRetriever(pipeline_id="customs001", **connection),
        ]
        self.tools = [
            BailianAppTool(model=self.model, name="customs", description="Explains customs terms."),
            BailianAppTool(
                model=self.model,
                name="customs_with_memory",
                description="Explains customs terms.",
                session_store=self.stores[0],
            ),
        ]

    def create_model(self, app_id: str = samples.CUSTOMS_APP_ID, **fields: Any) -> BailianAppChatModel:
        """Return a model for an application of the emulator."""
        connection = {"base_url": self.service.base_url, "api_key": self.service.api_key}
        return BailianAppChatModel(app_id=app_id, **connection | fields)

    def create_redis_store(self) -> Any:
        """Return a session store with its own connections."""
        from langchain_bailian_app.redis_sessions import RedisSessionStore

        assert self.service.redis_url is not None  # noqa: S101
        return RedisSessionStore.from_url(self.service.redis_url)


class Caller:
    """One user, who makes random calls in a thread or on an event loop."""

    def __init__(
        self,
        objects: Objects,
        numbers: random.Random,
        loop_factory: Callable[[], asyncio.AbstractEventLoop],
    ) -> None:
        self._objects = objects
        self._random = numbers
        self._loop_factory = loop_factory
        self.calls = 0

    # -- ways to make one call: they return the answer, or None if they interrupt the call ------------

    def _call(self, model: Any, messages: Any, config: Any = None, **options: Any) -> AIMessage | None:
        style = self._random.choice((self._invoke, self._stream, self._break, self._drop))
        self.calls += 1
        return style(model, messages, config, options)

    def _invoke(self, model: Any, messages: Any, config: Any, options: Any) -> AIMessage | None:
        return model.invoke(messages, config, **options)

    def _stream(self, model: Any, messages: Any, config: Any, options: Any) -> AIMessage | None:
        answer: Any = None
        for chunk in model.stream(messages, config, **options):
            answer = chunk if answer is None else answer + chunk
        return answer

    def _break(self, model: Any, messages: Any, config: Any, options: Any) -> AIMessage | None:
        last = self._random.randrange(4)
        with closing(model.stream(messages, config, **options)) as chunks:
            for number, _ in enumerate(chunks):
                if number == last:
                    break

    def _drop(self, model: Any, messages: Any, config: Any, options: Any) -> AIMessage | None:
        for _ in model.stream(messages, config, **options):
            break

    async def _acall(
        self, model: Any, messages: Any, config: Any = None, **options: Any
    ) -> AIMessage | None:
        styles = (
            self._ainvoke,
            self._astream,
            self._abreak,
            self._adrop,
            self._acancel,
            self._acancel_stream,
            self._atimeout,
        )
        self.calls += 1
        return await self._random.choice(styles)(model, messages, config, options)

    async def _ainvoke(self, model: Any, messages: Any, config: Any, options: Any) -> AIMessage | None:
        return await model.ainvoke(messages, config, **options)

    async def _astream(self, model: Any, messages: Any, config: Any, options: Any) -> AIMessage | None:
        answer: Any = None
        async for chunk in model.astream(messages, config, **options):
            answer = chunk if answer is None else answer + chunk
        return answer

    async def _abreak(self, model: Any, messages: Any, config: Any, options: Any) -> AIMessage | None:
        last = self._random.randrange(4)
        async with aclosing(model.astream(messages, config, **options)) as chunks:
            number = 0
            async for _ in chunks:
                if number == last:
                    break
                number += 1

    async def _adrop(self, model: Any, messages: Any, config: Any, options: Any) -> AIMessage | None:
        async for _ in model.astream(messages, config, **options):
            break

    async def _acancel(self, model: Any, messages: Any, config: Any, options: Any) -> AIMessage | None:
        return await self._cancel_later(self._ainvoke(model, messages, config, options))

    async def _acancel_stream(
        self, model: Any, messages: Any, config: Any, options: Any
    ) -> AIMessage | None:
        return await self._cancel_later(self._astream(model, messages, config, options))

    async def _cancel_later(self, call: Any) -> AIMessage | None:
        task = asyncio.ensure_future(call)
        await asyncio.wait([task], timeout=self._random.random() * 0.03)
        task.cancel()
        with expect(asyncio.CancelledError):
            return await task
        return None

    async def _atimeout(self, model: Any, messages: Any, config: Any, options: Any) -> AIMessage | None:
        with expect(TimeoutError):
            async with asyncio.timeout(self._random.random() * 0.03):
                return await model.ainvoke(messages, config, **options)
        return None

    # -- kinds of calls -------------------------------------------------------------------------------

    def call_once(self) -> None:
        """Make a random call, or a conversation of several calls, in this thread."""
        self._random.choice(
            (
                self._ask,
                self._ask,
                self._converse,
                self._converse,
                self._continue_thread,
                self._continue_thread,
                self._continue_session,
                self._batch,
                self._retrieve,
                self._use_tool,
                self._meet_failure,
                self._fail_in_session,
                self._make_invalid_call,
                self._ask_new_model,
                self._use_new_redis_store,
                self._run_new_loop,
            )
        )()

    async def acall_once(self) -> None:
        """Make a random call, or a conversation of several calls, on this event loop."""
        await self._random.choice(
            (
                self._aask,
                self._aask,
                self._aconverse,
                self._aconverse,
                self._acontinue_thread,
                self._acontinue_thread,
                self._acontinue_session,
                self._abatch,
                self._aretrieve,
                self._ause_tool,
                self._ameet_failure,
                self._afail_in_session,
                self._amake_invalid_call,
                self._aask_new_model,
                self._ause_new_redis_store,
                self._afork,
                self._aread_events,
            )
        )()

    def _choose_model(self) -> Any:
        shared = self._objects
        return self._random.choice((shared.model, shared.model, shared.plain, shared.workflow))

    def _ask(self) -> None:
        self._call(self._choose_model(), self._question())

    async def _aask(self) -> None:
        await self._acall(self._choose_model(), self._question())

    def _converse(self) -> None:
        model = self._random.choice((self._objects.model, *self._objects.sessions))
        messages: list[BaseMessage] = []
        for _ in range(TURNS):
            messages.append(self._message())
            answer = self._call(model, messages) or self._invoke(model, messages, None, {})
            messages.append(answer)

    async def _aconverse(self) -> None:
        model = self._random.choice((self._objects.model, *self._objects.sessions))
        messages: list[BaseMessage] = []
        for _ in range(TURNS):
            messages.append(self._message())
            answer = await self._acall(model, messages)
            messages.append(answer or await self._ainvoke(model, messages, None, {}))

    async def _afork(self) -> None:
        model = self._random.choice(self._objects.sessions)
        messages = [self._message()]
        messages += [await self._ainvoke(model, messages, None, {}), self._message()]
        await asyncio.gather(*(self._acall(model, messages) for _ in range(3)))

    def _continue_thread(self) -> None:
        self._call(self._random.choice(self._objects.threads), self._question(), self._thread())

    async def _acontinue_thread(self) -> None:
        await self._acall(self._random.choice(self._objects.threads), self._question(), self._thread())

    def _continue_session(self) -> None:
        first = self._invoke(self._objects.model, self._question(), None, {})
        session_id = first.response_metadata["session_id"]
        with expect(BailianSessionError):  # the emulator may have forgotten it
            self._call(self._objects.model, self._question(), session_id=session_id)

    async def _acontinue_session(self) -> None:
        first = await self._ainvoke(self._objects.model, self._question(), None, {})
        session_id = first.response_metadata["session_id"]
        with expect(BailianSessionError):
            await self._acall(self._objects.model, self._question(), session_id=session_id)

    def _batch(self) -> None:
        model = self._random.choice((self._objects.model, *self._objects.sessions))
        questions = [self._question() for _ in range(5)]
        self.calls += len(questions)
        if self._flip_coin():
            model.batch(questions, {"max_concurrency": 3})
        else:
            list(model.batch_as_completed(questions))

    async def _abatch(self) -> None:
        model = self._random.choice((self._objects.model, *self._objects.sessions))
        questions = [self._question() for _ in range(5)]
        self.calls += len(questions)
        if self._flip_coin():
            await model.abatch(questions, {"max_concurrency": 3})
        else:
            await self._cancel_later(model.abatch(questions))

    def _retrieve(self) -> None:
        self.calls += 1
        self._random.choice(self._objects.retrievers).invoke(self._question())

    async def _aretrieve(self) -> None:
        self.calls += 1
        call = self._random.choice(self._objects.retrievers).ainvoke(self._question())
        await (call if self._flip_coin() else self._cancel_later(call))

    def _use_tool(self) -> None:
        self.calls += 1
        tool = self._random.choice(self._objects.tools)
        tool.invoke({"query": self._question()}, self._thread())

    async def _ause_tool(self) -> None:
        self.calls += 1
        tool = self._random.choice(self._objects.tools)
        call = tool.ainvoke({"query": self._question()}, self._thread())
        await (call if self._flip_coin() else self._cancel_later(call))

    async def _aread_events(self) -> None:
        self.calls += 1
        async for _ in self._objects.model.astream_events(self._question(), version="v2"):
            pass

    def _choose_failing_model(self) -> Any:
        shared = self._objects
        return self._random.choice(
            (
                shared.faulty,
                shared.faulty,
                shared.faulty,
                shared.busy,
                shared.stream_error,
                shared.slow,
                shared.wrong_key,
            )
        )

    def _meet_failure(self) -> None:
        with expect(BailianError):
            self._call(self._choose_failing_model(), self._question())

    async def _ameet_failure(self) -> None:
        with expect(BailianError):
            await self._acall(self._choose_failing_model(), self._question())

    def _fail_in_session(self) -> None:
        model = self._random.choice(self._objects.failing_sessions)
        messages: list[BaseMessage] = [self._message()]
        with expect(BailianError):
            answer = self._invoke(model, messages, None, {})
            self._call(model, [*messages, answer, self._message()])

    async def _afail_in_session(self) -> None:
        model = self._random.choice(self._objects.failing_sessions)
        messages: list[BaseMessage] = [self._message()]
        with expect(BailianError):
            answer = await self._ainvoke(model, messages, None, {})
            await self._acall(model, [*messages, answer, self._message()])

    def _make_invalid_call(self) -> None:
        with expect(TypeError):
            self._call(self._objects.model, self._question(), temprature=1)  # codespell:ignore
        with expect(ValueError):
            self._call(self._random.choice(self._objects.sessions), "")

    async def _amake_invalid_call(self) -> None:
        with expect(TypeError):
            await self._acall(self._objects.model, self._question(), temprature=1)  # codespell:ignore
        with expect(ValueError):
            await self._acall(self._random.choice(self._objects.sessions), "")

    def _ask_new_model(self) -> None:
        store = InMemorySessionStore()
        self._call(self._objects.create_model(history="session", session_store=store), self._question())

    async def _aask_new_model(self) -> None:
        store = InMemorySessionStore()
        model = self._objects.create_model(history="session", session_store=store)
        await self._acall(model, self._question())

    def _use_new_redis_store(self) -> None:
        if self._objects.service.redis_url is None:
            return
        with closing(self._objects.create_redis_store()) as store:
            model = self._objects.create_model(history="thread", session_store=store)
            self._call(model, self._question(), self._thread())

    async def _ause_new_redis_store(self) -> None:
        if self._objects.service.redis_url is None:
            return
        store = self._objects.create_redis_store()
        try:
            model = self._objects.create_model(history="thread", session_store=store)
            await self._acall(model, self._question(), self._thread())
        finally:
            await store.aclose()

    def _run_new_loop(self) -> None:
        with asyncio.Runner(loop_factory=self._loop_factory) as runner:
            runner.run(self._call_on_new_loop())

    async def _call_on_new_loop(self) -> None:
        shared = self._objects
        models = (shared.model, shared.threads[-1], shared.unlimited_slow)
        await asyncio.gather(
            *(self._acall(model, self._question(), self._thread()) for model in models)
        )

    # -- inputs ---------------------------------------------------------------------------------------

    def _flip_coin(self) -> bool:
        return self._random.choice((True, False))

    def _question(self) -> str:
        return self._random.choice(QUESTIONS)

    def _message(self) -> HumanMessage:
        return HumanMessage(self._question())

    def _thread(self) -> Any:
        return {"configurable": {"thread_id": str(self._random.randrange(THREADS))}}
