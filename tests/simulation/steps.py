"""Steps of a simulation: calls that are made at the same time, and what fails meanwhile."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.simulation.calls import Arrangement, Call, Outcome
    from tests.simulation.oracle import Circumstances, Conversation

Outage: TypeAlias = Literal["flush", "script-flush", "freeze", "kill"]
"""What happens to the Redis server."""


@dataclass
class PlannedCall:
    """A call and its conversation."""

    conversation: Conversation
    call: Call


@dataclass
class Step:
    """Calls that are made at the same time, and what fails meanwhile."""

    number: int
    action: str
    planned: list[PlannedCall] = field(default_factory=list)
    arrangement: Arrangement = "each"
    worker: int | None = None
    """Number of the process that runs the calls; None for this process."""

    service_failure: str | None = None
    """Key of `test_state_machine.FAILURES`."""

    stall_after: int | None = None
    """Number of frames after which a stream stalls and the connection stays open."""

    outage: Outage | None = None
    outage_delay: float | None = None
    """Seconds from the start of the calls to the outage; None if it begins before them."""

    kills_worker: bool = False

    @property
    def calls(self) -> list[Call]:
        return [planned.call for planned in self.planned]

    @property
    def empties_store(self) -> bool:
        return self.outage in {"flush", "kill"}

    def describe(self, outcomes: Sequence[Outcome]) -> str:
        moment = "before" if self.outage_delay is None else "during"
        circumstances = [
            f"{name} {value}"
            for name, value in (
                ("process", self.worker),
                ("service:", self.service_failure),
                ("Redis:", f"{self.outage} {moment}" if self.outage else None),
            )
            if value is not None
        ]
        lines = [
            f"{self.number}: {self.action}, {self.arrangement} {'; '.join(circumstances)}".rstrip()
        ]
        for planned, outcome in itertools.zip_longest(self.planned, outcomes):
            call, conversation = planned.call, planned.conversation
            texts = " | ".join(message.text for message in call.messages[-3:])
            answer = outcome.answer if outcome else None
            metadata = answer.response_metadata if answer else {}
            shown = {
                name: metadata[name]
                for name in ("history", "session_id", "session_turn", "session_restarted")
                if name in metadata
            }
            options = {k: v for k, v in call.options.items() if k != "history"}
            lines.append(
                f"    user {conversation.user}, {conversation.history} {conversation.number},"
                f" model {call.model}, {call.style}"
                f"{f', interrupted: {call.interruption}' if call.interruption else ''}"
                f"{f', {options}' if options else ''}: {len(call.messages)} messages … {texts}\n"
                f"      → {outcome.failure or outcome.text if outcome else 'no result'} {shown}"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class CallResult:
    """A planned call, its outcome, and what else happened while it ran."""

    planned: PlannedCall
    outcome: Outcome
    circumstances: Circumstances


@dataclass
class ServiceChange:
    """Change of the service between two steps."""

    settings: dict[str, Any] = field(default_factory=dict)
    """New values of attributes of the emulator."""

    forgets_sessions: bool = False
