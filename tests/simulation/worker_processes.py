"""Worker processes of the simulation, which share only Redis and the service with it."""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_bailian_app import BailianAppChatModel
from langchain_bailian_app.redis_sessions import RedisSessionStore
from langchain_bailian_app.sessions import BailianSessionWarning
from tests.simulation.calls import Outcome, ignore_collected_sockets
from tests.simulation.workers import DEADLINE, HangError, Workers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.connection import Connection

    from tests.simulation.calls import Arrangement, Call

# Redis is frozen for longer than this, and a machine that runs other tests answers well within it.
REDIS_TIMEOUT = 0.25

# Processes that share no state with this one. The modules are imported only once for all of them.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Connections:
    """Addresses of the servers, from which every process creates its models."""

    base_url: str
    api_key: str
    redis_url: str
    app_ids: tuple[str, ...]

    def create_models(self, stores: Sequence[Any] = ()) -> dict[str, BailianAppChatModel]:
        """Return a model for each application and store, `a0` to `b1`; by default, two in Redis."""
        stores = stores or [
            RedisSessionStore.from_url(self.redis_url, socket_timeout=REDIS_TIMEOUT) for _ in range(2)
        ]
        return {
            f"{app_id}{number}": BailianAppChatModel(
                app_id=app_id,
                base_url=self.base_url,
                api_key=self.api_key,
                session_store=store,
                max_retries=0,
                timeout=DEADLINE,
            )
            for app_id in self.app_ids
            for number, store in enumerate(stores)
        }


class WorkerProcess:
    """Process that runs calls, and that can be killed in the middle of a stream."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._start()

    def send(self, calls: Sequence[Call], arrangement: Arrangement) -> None:
        self._pipe.send((calls, arrangement))

    def receive(self) -> tuple[list[Outcome], int]:
        """Return the outcomes of the calls, and how many of them warned about their session.

        Raises:
            HangError: The process does not answer.
        """
        if not self._pipe.poll(DEADLINE + 10):
            message = "a worker process has not answered"
            raise HangError(message)
        result = self._pipe.recv()
        if isinstance(result, BaseException):
            raise result
        return result

    def collect_garbage(self) -> None:
        """Close the streams that were dropped in the process."""
        self._pipe.send(([], "collect"))
        self._pipe.recv()

    def kill_in_stream(self, call: Call) -> Outcome:
        """Kill the process after the first chunk of a call, and start another one."""
        self._pipe.send(([call], "kill"))
        if not self._pipe.poll(DEADLINE + 10):
            message = "a worker process has not answered"
            raise HangError(message)
        outcome: Outcome = self._pipe.recv()
        self.kill()
        self._start()
        return outcome

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._pipe.close()

    def _start(self) -> None:
        self._pipe, child_pipe = FORKSERVER.Pipe()
        self._process = FORKSERVER.Process(
            target=_serve, args=(self._connections, child_pipe), daemon=True
        )
        self._process.start()
        child_pipe.close()


def _serve(connections: Connections, pipe: Connection) -> None:
    logging.getLogger("langchain_bailian_app").addHandler(logging.NullHandler())  # the log is long
    workers = Workers(connections.create_models())
    with warnings.catch_warnings(record=True) as caught, contextlib.suppress(EOFError):
        warnings.simplefilter("always")
        ignore_collected_sockets()
        while True:
            calls, arrangement = pipe.recv()
            caught.clear()
            if arrangement == "kill":
                _stream_until_killed(workers.models, calls[0], pipe)
                continue
            if arrangement == "collect":
                gc.collect()
                pipe.send(None)
                continue
            try:
                outcomes = workers.run(calls, arrangement)
            except HangError as error:
                pipe.send(error)
                continue
            others = [w for w in caught if w.category is not BailianSessionWarning]
            if others:
                pipe.send(AssertionError(f"unexpected warning in a worker process: {others[0]}"))
            else:
                pipe.send((outcomes, len(caught)))


def _stream_until_killed(
    models: Mapping[str, BailianAppChatModel], call: Call, pipe: Connection
) -> None:
    try:
        stream = models[call.model].stream(list(call.messages), call.config, **call.options)
        outcome = Outcome(text=next(stream).text)
    except Exception as error:  # noqa: BLE001 - the simulation checks every error
        outcome = Outcome.of(error)
    pipe.send(outcome)
    threading.Event().wait(DEADLINE)
