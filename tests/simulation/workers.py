"""Threads and event loops that run the calls of the simulation in one process."""

from __future__ import annotations

import asyncio
import faulthandler
import queue
import sys
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from tests.simulation.calls import (
    arun_batch,
    arun_call,
    arun_overlapping,
    run_batch,
    run_call,
    run_overlapping,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_bailian_app import BailianAppChatModel
    from tests.simulation.calls import Arrangement, Call, Outcome

DEADLINE = 30.0  # seconds; a call that takes longer hangs


class HangError(Exception):
    """Error raised if a call does not end within `DEADLINE`."""


class DaemonThreads:
    """Threads that run functions; a thread that hangs does not keep the process alive."""

    def __init__(self, count: int) -> None:
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = (
            queue.SimpleQueue()
        )
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._queue.put((future, function))
        return future

    def stop(self) -> None:
        for _ in self._threads:
            self._queue.put(None)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            future, function = item
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - raised again by `future.result`
                future.set_exception(error)
            del item, future, function  # they hold the messages of the call


class LoopThread:
    """Event loop in a thread of its own."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._loop = self._runner.get_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, coroutine: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def print_stacks(self) -> None:
        """Print the stacks of all tasks to stderr."""
        for task in asyncio.all_tasks(self._loop):
            task.print_stack(file=sys.__stderr__)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(DEADLINE)

    def _run(self) -> None:
        with self._runner:
            self._runner.run(self._stopping.wait())


class Workers:
    """Threads and event loops of one process."""

    def __init__(self, models: Mapping[str, BailianAppChatModel]) -> None:
        self.models = models
        self._threads = DaemonThreads(4)
        self._loops = [LoopThread(), LoopThread()]

    def run(self, calls: Sequence[Call], arrangement: Arrangement) -> list[Outcome]:
        """Run the calls of a step and return their outcomes.

        Raises:
            HangError: A call does not end.
        """
        first = calls[0]
        loop = self._loops[first.step % 2]
        futures: list[Future[Any]]
        match arrangement:
            case "each":
                futures = [self._submit(call, index) for index, call in enumerate(calls)]
            case "batch" if first.is_async:
                futures = [loop.submit(arun_batch(self.models, calls))]
            case "batch":
                futures = [self._threads.submit(lambda: run_batch(self.models, calls))]
            case _ if first.is_async:
                futures = [loop.submit(arun_overlapping(self.models, calls))]
            case _:
                futures = [self._threads.submit(lambda: run_overlapping(self.models, calls))]
        try:
            results = [future.result(DEADLINE) for future in futures]
        except TimeoutError:
            faulthandler.dump_traceback(sys.__stderr__)
            for loop_thread in self._loops:
                loop_thread.print_stacks()
            message = f"a call has not ended within {DEADLINE:.0f} s; see the stacks in stderr"
            raise HangError(message) from None
        return results if arrangement == "each" else results[0]

    def stop(self) -> None:
        self._threads.stop()
        for loop in self._loops:
            loop.stop()

    def _submit(self, call: Call, index: int) -> Future[Any]:
        if not call.is_async:
            return self._threads.submit(lambda: run_call(self.models, call))
        if call.step % 20 == 0 and call.interruption is None:
            # A loop of its own, as `asyncio.run` in a script or a web request has.
            return self._threads.submit(lambda: asyncio.run(arun_call(self.models, call)))
        return self._loops[(call.step + index) % 2].submit(arun_call(self.models, call))
