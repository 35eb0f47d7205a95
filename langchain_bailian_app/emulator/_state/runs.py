"""Background runs of an emulator: their states, and settings for faults and delays."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from langchain_bailian_app.emulator._http.errors import ErrorReply, refuse
from langchain_bailian_app.emulator._state.run_faults import RunFaults, RunStep
from langchain_bailian_app.emulator._state.run_switches import RunSwitches

StoredStatus: TypeAlias = Literal["queued", "running", "completed", "failed", "cancelled"]
"""Status of a run, independent of the word that the replies contain."""

_ENDED = ("completed", "failed", "cancelled")


@dataclass(eq=False)
class StoredRun:
    """A background run.

    Attributes:
        run_id: Id of the run.
        app_id: Id of the application.
        prompt: The question.
        created_at: Unix time of the start in seconds.
        status: Status.
        text: Text of the answer of a completed run.
        reasoning: Reasoning of a completed run.
        error: Error of a failed run.
        ended_at: Time of the end, in seconds of the emulator's `clock`.
    """

    run_id: str
    app_id: str
    prompt: str
    created_at: int
    status: StoredStatus = "queued"
    text: str = ""
    reasoning: str = ""
    error: ErrorReply | None = None
    ended_at: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the run is completed, failed or cancelled."""
        return self.status in _ENDED


@dataclass(eq=False)
class RunStore:
    """All background runs. Only the server's thread changes the runs; any thread can read them."""

    clock: Callable[[], float]
    switches: RunSwitches = field(default_factory=RunSwitches)
    """Behavior that no source settles."""
    faults: RunFaults | None = None
    """Faults to inject. None (default): no faults."""
    queue_seconds: float = 0.0
    """Seconds for which a run is queued. Default: 0. The application's `pace` determines how long it
    runs."""
    started: dict[str, StoredRun] = field(default_factory=dict)
    """All runs by id, without deleted ones."""
    _second: tuple[int, int] = (0, 0)

    def start(self, app_id: str, prompt: str) -> StoredRun:
        """Add a queued run."""
        run = StoredRun(str(uuid.uuid4()), app_id, prompt, int(time.time()))
        self.started[run.run_id] = run
        return run

    def find(self, app_id: str, run_id: str) -> StoredRun:
        """Return a run.

        Raises:
            RequestRefused: The id is unknown, belongs to another application, or is kept no longer.
        """
        run = self.started.get(run_id)
        if run is None or run.app_id != app_id or self._is_expired(run):
            refuse(self.switches.unknown_id, f"Response {run_id} not found.")
        return run

    def _is_expired(self, run: StoredRun) -> bool:
        retention = self.switches.retention
        return (
            run.ended_at is not None
            and retention is not None
            and self.clock() - run.ended_at >= retention
        )

    def end(self, run: StoredRun, status: StoredStatus) -> None:
        """End a run, unless it has already ended."""
        if not run.has_ended:
            run.status = status
            run.ended_at = self.clock()

    def delete(self, run: StoredRun) -> None:
        """Delete a run."""
        del self.started[run.run_id]

    def draw_fault(self, step: RunStep) -> str | None:
        """Draw the fault for the next request of a step; None if it succeeds."""
        return self.faults.draw(step) if self.faults is not None else None

    def count_query(self) -> None:
        """Count a query of a state.

        Raises:
            RequestRefused: There are too many in this second.
        """
        limit, second = self.switches.queries_per_second, int(self.clock())
        count = self._second[1] + 1 if self._second[0] == second else 1
        self._second = second, count
        if limit is not None and count > limit:
            refuse("Throttling.RateQuota")
