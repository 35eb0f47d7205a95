"""Environment of a simulation: the emulator, Redis, the stores, the workers, and their outages."""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

from langchain_bailian_app.emulator import App, BailianEmulator
from langchain_bailian_app.redis_sessions import RedisSessionStore
from tests.integration_tests.sessions.test_state_machine import FAILURES, NO_FAULTS
from tests.simulation.calls import ignore_collected_sockets
from tests.simulation.oracle import ContextApp
from tests.simulation.redis_process import RedisProcess, find_redis_server
from tests.simulation.stores import RecordingStore
from tests.simulation.worker_processes import REDIS_TIMEOUT, Connections, WorkerProcess
from tests.simulation.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_bailian_app.sessions import SessionStore
    from tests.simulation.calls import Outcome
    from tests.simulation.steps import PlannedCall, ServiceChange, Step

World: TypeAlias = Literal["memory", "redis", "processes"]
"""Where the stores are: in memory, in Redis, or in Redis and used by several processes."""

WORLDS: tuple[World, ...] = get_args(World)
APP_IDS = ("a", "b")


class Environment:
    """Everything that the calls of a simulation use; use it in a `with` statement.

    Args:
        world: Where the stores are.
        seed: Seed of the failures of the second store.
        create_store: Creates the stores in memory.
        store_failure_share: Share of operations in which the second store fails.
    """

    def __init__(
        self,
        world: World,
        seed: int,
        *,
        create_store: Callable[..., SessionStore],
        store_failure_share: float,
    ) -> None:
        self.app = ContextApp()
        """Application of all models."""

        self.request_count = 0
        """Number of requests that the emulator has received."""

        self.problems: list[str] = []
        """Errors that no call raised."""

        self._world, self._seed = world, seed
        self._create_store = create_store
        self._store_failure_share = store_failure_share
        self._service_epoch = self._store_epoch = 0
        self._collects_garbage_soon = False

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as resources:
            self._bailian = resources.enter_context(BailianEmulator(seed_apps=False))
            for app_id in APP_IDS:
                self._bailian.add_app(App(app_id, app_id=app_id, answer=self.app))
            self._redis = self._start_redis(resources)
            connections = Connections(
                self._bailian.base_url,
                self._bailian.api_key,
                self._redis.url if self._redis else "",
                APP_IDS,
            )
            self.stores = [self._create_recording_store(number, resources) for number in range(2)]
            self._local = Workers(connections.create_models(self.stores))
            resources.callback(self._local.stop)
            self._processes: list[WorkerProcess] = []
            if self._world == "processes":
                for _ in range(2):
                    self._processes.append(WorkerProcess(connections))
                    resources.callback(self._processes[-1].kill)
            self.caught_warnings = resources.enter_context(warnings.catch_warnings(record=True))
            warnings.simplefilter("always")
            ignore_collected_sockets()
            self._catch_problems(resources)
            gc.freeze()  # what exists now need not be searched for garbage
            resources.callback(gc.unfreeze)
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._resources.close()

    # -- between the steps -----------------------------------------------------------------------------

    def change_service(self, change: ServiceChange) -> None:
        for name, value in change.settings.items():
            setattr(self._bailian, name, value)
        if change.forgets_sessions:
            self._count_requests()
            self._bailian.reset()
            self._service_epoch += 1

    def place_of(self, planned: PlannedCall) -> tuple[object, ...]:
        """Return what must stay the same for a call to find its session.

        These are its application, its store, and how often service and store were emptied.
        """
        store = "Redis" if self._redis else planned.call.model[-1]
        return planned.conversation.app_id, store, self._service_epoch, self._store_epoch

    def collect_garbage_in_processes(self) -> None:
        for process in self._processes:
            process.collect_garbage()

    # -- one step --------------------------------------------------------------------------------------

    def run(self, step: Step) -> tuple[list[Outcome], int]:
        """Run the calls of a step, with its service failure and its outage.

        Returns:
            The outcomes, and how many calls in other processes warned about their session.
        """
        self.caught_warnings.clear()
        interrupted = any(call.interruption for call in step.calls)
        self.app.whole_answers = not interrupted and not step.service_failure
        for app in self._bailian.apps.values():
            vars(app).update(NO_FAULTS)
            app.stall_after = step.stall_after
            if step.service_failure:
                vars(app).update(FAILURES[step.service_failure]())
        with self._outage(step):
            outcomes, warning_count = self._run_calls(step)
        for app in self._bailian.apps.values():
            vars(app).update(NO_FAULTS)
        self._collects_garbage_soon = any(call.interruption == "cycle" for call in step.calls)
        self._count_requests()
        return outcomes, warning_count

    def _run_calls(self, step: Step) -> tuple[list[Outcome], int]:
        if step.worker is None:
            return self._local.run(step.calls, step.arrangement), 0
        if step.kills_worker:
            return [self._processes[step.worker].kill_in_stream(step.calls[0])], 1
        return self._run_in_processes(step)

    def _run_in_processes(self, step: Step) -> tuple[list[Outcome], int]:
        """Run the calls in one process, or the first half in one and the rest in the other."""
        assert step.worker is not None
        half = (len(step.calls) + 1) // 2
        shares = [step.calls]
        if step.arrangement == "each" and len(step.calls) > 1:
            shares = [step.calls[:half], step.calls[half:]]
        processes = [self._processes[step.worker], self._processes[1 - step.worker]]
        for process, calls in zip(processes, shares, strict=False):
            process.send(calls, step.arrangement)
        results = [process.receive() for process, _ in zip(processes, shares, strict=False)]
        return [o for outcomes, _ in results for o in outcomes], sum(count for _, count in results)

    @contextlib.contextmanager
    def _outage(self, step: Step) -> Iterator[None]:
        redis = self._redis
        if step.outage is None or redis is None:
            yield
            return
        start, end = {
            "flush": (redis.admin.flushall, lambda: None),
            "script-flush": (redis.admin.script_flush, lambda: None),
            "freeze": (redis.freeze, redis.thaw),
            "kill": (redis.kill, redis.start),
        }[step.outage]
        if step.outage_delay is None:
            start()
            yield
        else:
            timer = threading.Timer(step.outage_delay, start)
            timer.start()
            yield
            timer.join()
        end()
        if step.empties_store:
            self._store_epoch += 1

    def _count_requests(self) -> None:
        count = len(self._bailian.requests)
        del self._bailian.requests[:count]  # they would take up more and more memory
        self.request_count += count

    # -- resources -------------------------------------------------------------------------------------

    def _start_redis(self, resources: contextlib.ExitStack) -> RedisProcess | None:
        if self._world == "memory":
            return None
        program = find_redis_server()
        if program is None:
            message = "missing program redis-server (Debian: apt-get install redis-server)"
            raise FileNotFoundError(message)
        return resources.enter_context(RedisProcess(program))

    def _create_recording_store(self, number: int, resources: contextlib.ExitStack) -> RecordingStore:
        if self._redis is None:
            store = self._create_store(clock=self._read_clock)
        else:
            store = RedisSessionStore.from_url(self._redis.url, socket_timeout=REDIS_TIMEOUT)
            resources.callback(store.close)
        share = self._store_failure_share if number else 0.0
        return RecordingStore(store, failure_share=share, seed=self._seed)

    def _read_clock(self) -> float:
        """Return the time for a store, and collect garbage if a stream has just been dropped.

        The store reads the clock in the middle of its operations, where Python, too, may collect
        garbage. The dropped stream is closed there.
        """
        if self._collects_garbage_soon:
            self._collects_garbage_soon = False
            gc.collect()
        return time.monotonic()

    def _catch_problems(self, resources: contextlib.ExitStack) -> None:
        """Record errors that no call raises, and silence the log, which is long."""

        def record_unraisable(unraisable: Any) -> None:
            self.problems.append(f"{unraisable.err_msg}: {unraisable.exc_value!r}")

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                problems.append(f"{record.name}: {record.getMessage()}")

        problems, handler = self.problems, Handler(logging.ERROR)
        for name in ("asyncio", "langchain_bailian_app"):
            logger = logging.getLogger(name)
            logger.addHandler(handler)
            resources.callback(logger.removeHandler, handler)
            resources.callback(setattr, logger, "propagate", logger.propagate)
            logger.propagate = False
        resources.callback(setattr, sys, "unraisablehook", sys.unraisablehook)
        sys.unraisablehook = record_unraisable
