"""Tests that no claim is left behind by a call that was rejected, cancelled, interrupted or dropped."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from contextlib import closing, suppress
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_bailian_app._transport import background_tasks
from langchain_bailian_app.emulator import App, ErrorReply
from langchain_bailian_app.sessions import InMemorySessionStore
from tests.interrupts import TooFewLinesError, interrupt_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]

THREAD = {"history": "thread", "session_key": "key"}


@pytest.fixture
def app_id(bailian: BailianEmulator) -> str:
    """Return an application that answers in several frames."""
    return bailian.add_app(App("answers", answer=lambda turn: f"{turn.prompt}：一二三四五六七八九十"))


async def stream(model: BailianAppChatModel, messages: Any, **options: Any) -> None:
    for _ in model.stream(messages, **options):
        pass


async def astream(model: BailianAppChatModel, messages: Any, **options: Any) -> None:
    async for _ in model.astream(messages, **options):
        pass


async def invoke(model: BailianAppChatModel, messages: Any, **options: Any) -> None:
    model.invoke(messages, **options)


async def ainvoke(model: BailianAppChatModel, messages: Any, **options: Any) -> None:
    await model.ainvoke(messages, **options)


WAYS_OF_CALLING = pytest.mark.parametrize("call", [invoke, stream, ainvoke, astream])
INVALID_OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "Decimal": (
        {"biz_params": {"user_prompt_params": {"price": Decimal("NaN")}}},
        "invalid `user_prompt_params.price`: .* got NaN",
    ),
    "NaN": ({"biz_params": {"price": float("nan")}}, "invalid `price`: .* got nan"),
    "bytes": ({"extra_input": {"more": b"secret"}}, "invalid `extra_input`: .* got bytes at 'more'"),
    "parameter": ({"extra_parameters": {"x": {1}}}, "invalid `extra_parameters`: .* got set at 'x'"),
    "number": ({"temperature": float("inf")}, "invalid `temperature`: .* got inf"),
    "URL": ({"image_list": ["picture.png"]}, "invalid URL"),
}


@WAYS_OF_CALLING
@pytest.mark.parametrize("history", ["messages", "session", "thread"])
@pytest.mark.parametrize("name", INVALID_OPTIONS)
async def test_a_call_that_is_rejected_before_it_is_sent_leaves_the_conversation_as_it_was(
    bailian: BailianEmulator,
    make_model: MakeModel,
    app_id: str,
    name: str,
    history: str,
    call: Callable[..., Awaitable[None]],
) -> None:
    options, error = INVALID_OPTIONS[name]
    model = make_model(app_id, history=history, session_key="key", session_store=InMemorySessionStore())
    first = model.invoke("一")
    messages = [HumanMessage("二")]
    if history != "thread":
        messages = [HumanMessage("一"), first, *messages]
    sent = len(bailian.requests)
    with pytest.raises(ValueError, match=error) as caught:
        await call(model, messages, **options)
    with warnings.catch_warnings(action="error"):
        second = await model.ainvoke(messages)

    assert len(bailian.requests) == sent + 1
    assert "secret" not in str(caught.value)
    assert second.response_metadata["history"] == history
    if history != "messages":
        assert second.response_metadata["session_id"] == first.response_metadata["session_id"]


@WAYS_OF_CALLING
async def test_half_a_surrogate_pair_is_rejected_before_the_session_is_claimed(
    make_model: MakeModel, app_id: str, call: Callable[..., Awaitable[None]]
) -> None:
    model = make_model(app_id, history="session", session_store=InMemorySessionStore())
    messages = [HumanMessage("一"), model.invoke("一")]
    with pytest.raises(ValueError, match=r"invalid `messages`: .* surrogate"):
        await call(model, [*messages, HumanMessage("坏\ud83d")])
    with warnings.catch_warnings(action="error"):
        answer = model.invoke([*messages, HumanMessage("二")])

    assert answer.response_metadata["history"] == "session"


@WAYS_OF_CALLING
async def test_a_session_is_released_if_the_function_that_returns_the_key_fails(
    bailian: BailianEmulator, make_model: MakeModel, app_id: str, call: Callable[..., Awaitable[None]]
) -> None:
    calls_until_failure = 10

    def api_key() -> str:
        nonlocal calls_until_failure
        calls_until_failure -= 1
        if calls_until_failure == 0:
            message = "no key"
            raise OSError(message)
        return bailian.api_key

    model = make_model(app_id, history="session", session_store=InMemorySessionStore(), api_key=api_key)
    messages = [HumanMessage("一"), model.invoke("一"), HumanMessage("二")]
    calls_until_failure = 2  # the first call is for the digest
    with pytest.raises(OSError, match="no key"):
        await call(model, messages)
    with warnings.catch_warnings(action="error"):
        answer = model.invoke(messages)

    assert answer.response_metadata["history"] == "session"


# -- cancellation ----------------------------------------------------------------------------------


class WaitingStore(InMemorySessionStore):
    """Store of another package: each asynchronous method waits, and none is shielded."""

    async def aopen(self, session_id: str, digest: str) -> None:
        await asyncio.sleep(0.001)
        self.open(session_id, digest)

    async def aclaim(self, session_id: str, turn: int, digest: str) -> str | None:
        await asyncio.sleep(0.001)
        token = self.claim(session_id, turn, digest)
        await asyncio.sleep(0.001)
        return token

    async def acomplete(self, token: str, turn: int, digest: str) -> bool:
        await asyncio.sleep(0.001)
        return self.complete(token, turn, digest)

    async def arelease(self, token: str) -> None:
        await asyncio.sleep(0.001)
        self.release(token)

    async def aget(self, key: str) -> str | None:
        await asyncio.sleep(0.001)
        return self.get(key)

    async def aput(self, key: str, session_id: str) -> None:
        await asyncio.sleep(0.001)
        self.put(key, session_id)


async def run_cancelled(call: Callable[[], Awaitable[None]], *, after: float, use_anyio: bool) -> None:
    """Cancel a call after some seconds."""
    if not use_anyio:
        with suppress(TimeoutError):
            await asyncio.wait_for(call(), after)
        return
    with anyio.move_on_after(after):
        await call()


async def finish_releases() -> None:
    """Wait for claims and releases of cancelled calls."""
    while tasks := background_tasks._tasks.get():
        await asyncio.wait(tasks)


@pytest.mark.parametrize("use_anyio", [False, True], ids=["asyncio", "anyio"])
@pytest.mark.parametrize("call", [ainvoke, astream])
async def test_a_thread_continues_whenever_its_call_was_cancelled(
    bailian: BailianEmulator,
    make_model: MakeModel,
    call: Callable[..., Awaitable[None]],
    *,
    use_anyio: bool,
) -> None:
    app_id = bailian.add_app(App("slow", answer="一二三四五六七八九十", pace=0.002))
    model = make_model(app_id, **THREAD, session_store=WaitingStore())
    first = await model.ainvoke("一")
    for number in range(12):
        await run_cancelled(
            lambda: call(model, "二"), after=0.0005 + 0.0012 * number, use_anyio=use_anyio
        )
        await finish_releases()
        with warnings.catch_warnings(action="error"):
            answer = await model.ainvoke("三")

        assert answer.response_metadata["session_id"] == first.response_metadata["session_id"]


@pytest.mark.parametrize("use_anyio", [False, True], ids=["asyncio", "anyio"])
async def test_a_session_continues_after_its_claim_was_cancelled(
    make_model: MakeModel, app_id: str, *, use_anyio: bool
) -> None:
    model = make_model(app_id, history="session", session_store=WaitingStore())
    messages: list[BaseMessage] = [HumanMessage("一"), await model.ainvoke("一"), HumanMessage("二")]
    await run_cancelled(lambda: ainvoke(model, messages), after=0.0015, use_anyio=use_anyio)
    await finish_releases()
    with warnings.catch_warnings(action="error"):
        answer = await model.ainvoke(messages)

    assert answer.response_metadata["history"] == "session"


# -- abandoned streams -----------------------------------------------------------------------------


def test_a_dropped_stream_may_be_closed_in_the_middle_of_a_store_operation(
    make_model: MakeModel, app_id: str
) -> None:
    collects = False

    def collecting_clock() -> float:
        if collects:
            gc.collect(0)
        return 0.0

    store = InMemorySessionStore(clock=collecting_clock)
    model = make_model(app_id, **THREAD, session_store=store)
    first = model.invoke("一")
    answers: list[AIMessage] = []
    gc.disable()
    try:
        cycle: list[Any] = [model.stream("二")]
        next(cycle[0])
        cycle.append(cycle)
        del cycle
        collects = True
        thread = threading.Thread(
            target=lambda: answers.append(model.invoke("三", session_key="other")), daemon=True
        )
        thread.start()
        thread.join(10)
        collects = False
        assert not thread.is_alive(), "deadlock"
    finally:
        gc.enable()

    assert answers
    with warnings.catch_warnings(action="error"):
        answer = model.invoke("四")
    assert answer.response_metadata["session_id"] == first.response_metadata["session_id"]


# -- Ctrl-C ----------------------------------------------------------------------------------------

# Where the session is claimed and released. The transport has its own tests of Ctrl-C.
TRACED_FILES = (
    "sessions/_store.py",
    "sessions/_store_ops.py",
    "sessions/_tracker.py",
    "chat_models/_delta_stream.py",
    "chat_models/_model.py",
)


def read_stream(model: BailianAppChatModel, messages: Any) -> None:
    with closing(model.stream(messages)) as chunks:  # type: ignore[type-var]
        for _ in chunks:
            pass


def read_answer(model: BailianAppChatModel, messages: Any) -> None:
    model.invoke(messages)


def interrupt(line: int, function: Callable[[], None], **options: Any) -> str:
    """Call a function, interrupt it at a line, and return the place."""
    try:
        with interrupt_at(line, *TRACED_FILES, **options):
            function()
    except KeyboardInterrupt as interruption:
        return str(interruption)
    return "no exception, because the garbage collector called the interrupted code"


CALLS_IN_THREADS = pytest.mark.parametrize("call", [read_answer, read_stream])


@pytest.mark.slow
@CALLS_IN_THREADS
def test_ctrl_c_in_any_line_of_a_call_leaves_no_thread_claimed(
    make_model: MakeModel, app_id: str, call: Callable[[BailianAppChatModel, Any], None]
) -> None:
    store = InMemorySessionStore()
    line = 0
    with suppress(TooFewLinesError):
        while True:
            if line % 20 == 0:  # because a session ends after 50 turns
                model = make_model(app_id, history="thread", session_key=str(line), session_store=store)
                model.invoke("一")
            line += 1
            place = interrupt(line, partial(call, model, "二"))

            store.get("")  # applies the release
            assert not [entry for entry in store._entries.values() if entry.token], place
    assert line > 200


@pytest.mark.slow
@CALLS_IN_THREADS
def test_ctrl_c_in_any_line_before_the_request_is_sent_leaves_no_session_claimed(
    make_model: MakeModel, app_id: str, call: Callable[[BailianAppChatModel, Any], None]
) -> None:
    def is_sent(frame: FrameType) -> bool:
        return frame.f_code.co_name == "on_send"

    store = InMemorySessionStore()
    model = make_model(app_id, history="session", session_store=store)
    messages = [HumanMessage("一"), model.invoke("一"), HumanMessage("二")]
    line = 0
    with suppress(TooFewLinesError):
        while True:
            line += 1
            place = interrupt(line, lambda: call(model, messages), stop_at=is_sent)

            store.get("")  # applies the release
            assert not [entry for entry in store._entries.values() if entry.token], place
    assert line > 100


async def test_a_call_cancelled_while_it_waits_for_a_retry_keeps_its_session(
    bailian: BailianEmulator, make_model: MakeModel, app_id: str
) -> None:
    model = make_model(app_id, history="session", session_store=InMemorySessionStore(), max_retries=2)
    first = await model.ainvoke("一")
    messages = [HumanMessage("一"), first, HumanMessage("二")]
    bailian.apps[app_id].error = ErrorReply.of(
        "Throttling.RateQuota", headers={"retry-after": "30"}, times=1
    )
    sent = len(bailian.requests)
    task = asyncio.create_task(model.ainvoke(messages))
    while len(bailian.requests) == sent or bailian.requests[-1].status is None:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with warnings.catch_warnings(action="error"):
        second = await model.ainvoke(messages)

    assert second.response_metadata["session_id"] == first.response_metadata["session_id"]
