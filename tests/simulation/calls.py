"""Calls of the simulation: one call, interrupted or not, a batch, or two that overlap."""

from __future__ import annotations

import asyncio
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio

from langchain_bailian_app.errors import BailianError
from tests.fixtures import merge_chunks
from tests.simulation.stores import current_step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.runnables import RunnableConfig

    from langchain_bailian_app import BailianAppChatModel

Style: TypeAlias = Literal["invoke", "post", "stream", "ainvoke", "astream"]
Interruption: TypeAlias = Literal["close", "cycle", "cancel", "anyio"]
Arrangement: TypeAlias = Literal["each", "batch", "overlap"]
"""How the calls of a step run: each on its own, all in one batch, or the second one while the first
one is streaming."""

SYNC_STYLES: tuple[Style, ...] = ("invoke", "post", "stream")
ASYNC_STYLES: tuple[Style, ...] = ("ainvoke", "astream")


@dataclass(frozen=True)
class Call:
    """One call of a model."""

    step: int
    model: str
    messages: Sequence[BaseMessage]
    style: Style
    options: Mapping[str, Any]
    session_key: str | None = None
    interruption: Interruption | None = None
    """How the caller interrupts the call: by closing the stream after the first chunk, by dropping it
    in a cycle of references, which the garbage collector closes at any time, or by cancelling."""

    delay: float | None = None
    """Seconds before a cancellation; None to cancel after the first chunk."""

    @property
    def config(self) -> RunnableConfig:
        return {"configurable": {"thread_id": self.session_key}} if self.session_key else {}

    @property
    def is_async(self) -> bool:
        return self.style in ASYNC_STYLES


@dataclass(frozen=True)
class Failure:
    """An error that a call raised, in a form that every process can send."""

    classes: tuple[str, ...]
    message: str
    is_retryable: bool

    def __str__(self) -> str:
        return f"{self.classes[0]}: {self.message}"


@dataclass
class Outcome:
    """Result of a call: an answer, an error, or the text until the interruption."""

    answer: AIMessage | None = None
    text: str = ""
    failure: Failure | None = None

    @classmethod
    def of(cls, result: Any) -> Outcome:
        """Return the outcome for an answer or an error."""
        if not isinstance(result, BaseException):
            return cls(answer=result, text=result.text)
        classes = tuple(f"{c.__module__}.{c.__qualname__}" for c in type(result).__mro__)
        partial = getattr(result, "partial", None)
        retryable = isinstance(result, BailianError) and result.is_retryable
        return cls(
            text=partial.text if partial else "",
            failure=Failure(classes, str(result), retryable),
        )


def ignore_collected_sockets() -> None:
    """Ignore Python's warning about a socket in a reference cycle.

    If a dropped stream is in a cycle, the garbage collector may reach its socket first.
    """
    warnings.filterwarnings("ignore", "unclosed <socket", ResourceWarning)


# -- one call ----------------------------------------------------------------------------------------


def run_call(models: Mapping[str, BailianAppChatModel], call: Call) -> Outcome:
    """Run a call in this thread."""
    current_step.set(call.step)
    model, messages = models[call.model], list(call.messages)
    try:
        if call.interruption is not None:
            stream = model.stream(messages, call.config, **call.options)
            first = next(stream)
            if call.interruption == "close":
                stream.close()
            else:
                cycle: list[Any] = [stream]
                cycle.append(cycle)
            return Outcome(text=first.text)
        if call.style == "stream":
            return Outcome.of(merge_chunks(list(model.stream(messages, call.config, **call.options))))
        options = dict(call.options) | ({"streaming": False} if call.style == "post" else {})
        return Outcome.of(model.invoke(messages, call.config, **options))
    except Exception as error:  # noqa: BLE001 - the simulation checks every error
        return Outcome.of(error)


async def arun_call(models: Mapping[str, BailianAppChatModel], call: Call) -> Outcome:
    """Run a call in this task."""
    current_step.set(call.step)
    model, messages = models[call.model], list(call.messages)
    texts: list[str] = []
    started = asyncio.Event()

    async def consume() -> AIMessage:
        if call.style == "ainvoke":
            return await model.ainvoke(messages, call.config, **call.options)
        chunks = []
        async for chunk in model.astream(messages, call.config, **call.options):
            chunks.append(chunk)
            texts.append(chunk.text)
            started.set()
        return merge_chunks(chunks)

    try:
        match call.interruption:
            case None:
                return Outcome.of(await consume())
            case "close":
                async for chunk in model.astream(messages, call.config, **call.options):
                    texts.append(chunk.text)
                    break
            case "cancel":
                task = asyncio.ensure_future(consume())
                await _wait_to_cancel(call, task, started)
                task.cancel()
                return Outcome.of(await task)
            case _:
                return await _run_in_cancelled_scope(call, consume, started)
    except asyncio.CancelledError:
        pass
    except Exception as error:  # noqa: BLE001 - the simulation checks every error
        return Outcome.of(error)
    return Outcome(text="".join(texts))


async def _wait_to_cancel(call: Call, task: asyncio.Future[Any], started: asyncio.Event) -> None:
    if call.delay is not None:
        await asyncio.sleep(call.delay)
        return
    waiter = asyncio.ensure_future(started.wait())
    await asyncio.wait([task, waiter], return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()


async def _run_in_cancelled_scope(call: Call, consume: Any, started: asyncio.Event) -> Outcome:
    """Run a call as Starlette does: after the cancellation, every further await is cancelled."""
    outcome = Outcome()
    done = asyncio.Event()

    async def run() -> None:
        nonlocal outcome
        try:
            outcome = Outcome.of(await consume())
        except Exception as error:  # noqa: BLE001 - the simulation checks every error
            outcome = Outcome.of(error)
        finally:
            done.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await _wait_to_cancel(call, asyncio.ensure_future(done.wait()), started)
        group.cancel_scope.cancel()
    return outcome


# -- several calls -------------------------------------------------------------------------------------


def run_batch(models: Mapping[str, BailianAppChatModel], calls: Sequence[Call]) -> list[Outcome]:
    """Run the calls as one batch."""
    current_step.set(calls[0].step)
    results = models[calls[0].model].batch(
        [list(call.messages) for call in calls],
        [call.config for call in calls],
        return_exceptions=True,
        **calls[0].options,
    )
    return [Outcome.of(result) for result in results]


async def arun_batch(models: Mapping[str, BailianAppChatModel], calls: Sequence[Call]) -> list[Outcome]:
    """Async version of `run_batch`."""
    current_step.set(calls[0].step)
    results = await models[calls[0].model].abatch(
        [list(call.messages) for call in calls],
        [call.config for call in calls],
        return_exceptions=True,
        **calls[0].options,
    )
    return [Outcome.of(result) for result in results]


def run_overlapping(models: Mapping[str, BailianAppChatModel], calls: Sequence[Call]) -> list[Outcome]:
    """Run the second call between the first two chunks of the first one."""
    first, second = calls
    current_step.set(first.step)
    second_outcome: Outcome | None = None
    try:
        stream = models[first.model].stream(list(first.messages), first.config, **first.options)
        chunks = [next(stream)]
        second_outcome = run_call(models, second)
        chunks += stream
    except Exception as error:  # noqa: BLE001 - the simulation checks every error
        return [Outcome.of(error), second_outcome or run_call(models, second)]
    return [Outcome.of(merge_chunks(chunks)), second_outcome]


async def arun_overlapping(
    models: Mapping[str, BailianAppChatModel], calls: Sequence[Call]
) -> list[Outcome]:
    """Async version of `run_overlapping`."""
    first, second = calls
    current_step.set(first.step)
    second_outcome: Outcome | None = None
    try:
        stream = models[first.model].astream(list(first.messages), first.config, **first.options)
        chunks = [await anext(stream)]
        second_outcome = await arun_call(models, second)
        chunks += [chunk async for chunk in stream]
    except Exception as error:  # noqa: BLE001 - the simulation checks every error
        return [Outcome.of(error), second_outcome or await arun_call(models, second)]
    return [Outcome.of(merge_chunks(chunks)), second_outcome]
