"""Reader of the steps of an application.

A step is an entry of `thoughts` other than reasoning: retrieval, memory, a plugin, an MCP tool, or an
unknown kind. Frames repeat steps, but each step is reported once: the call when the step is first
seen, and the result when the observation arrives. The raw entry is kept unchanged.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.events import StepCall, StepResult

_NO_OBSERVATION: tuple[Any, ...] = (None, "")
# A later frame may fill an empty list of hits, so the list is not reported until the answer begins.
_EMPTY_OBSERVATION: tuple[Any, ...] = (*_NO_OBSERVATION, [], "[]")


@dataclass(slots=True, eq=False)
class _Step:
    number: int
    entry: dict[str, Any]
    group: _StepGroup
    reported: bool = False

    @property
    def id(self) -> str:
        return f"bailian_{self.number}"


class _StepGroup:
    """The steps with the same name and arguments, indexed by observation."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []
        self._unreported: list[_Step] = []
        self._reported: dict[str, list[_Step]] = {}

    def add(self, step: _Step) -> None:
        self.steps.append(step)
        self._unreported.append(step)

    def mark_reported(self, step: _Step) -> None:
        """Record that the result of a step has been reported."""
        step.reported = True
        self._unreported.remove(step)
        self._reported.setdefault(_observation_key(step.entry.get("observation")), []).append(step)

    def find_match(self, observation: Any, excluded: set[_Step]) -> _Step | None:
        """Return the first step not in `excluded` that an entry with this observation may repeat."""
        candidates = (
            self.steps
            if observation in _NO_OBSERVATION
            else [*self._unreported, *self._reported.get(_observation_key(observation), ())]
        )
        available = (step for step in candidates if step not in excluded)
        return min(available, key=lambda step: step.number, default=None)


class StepReader:
    """Tracks the steps through the frames of one answer."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self._groups: dict[str, _StepGroup] = {}
        self._seen_in_frame: set[_Step] = set()

    def next_frame(self) -> None:
        """Start a new frame. Its entries may repeat earlier steps, but never each other."""
        self._seen_in_frame.clear()

    def feed(self, entry: dict[str, Any]) -> list[StepCall | StepResult]:
        """Return the new events in this entry."""
        if not any(entry.values()):
            return []
        events: list[StepCall | StepResult] = []
        group = self._groups.setdefault(_call_key(entry), _StepGroup())
        step = group.find_match(entry.get("observation"), self._seen_in_frame)
        if step is None:
            step = _Step(len(self._steps), entry, group)
            self._steps.append(step)
            group.add(step)
            events.append(
                StepCall(step.id, _choose_step_name(entry), _arguments_as_dict(entry), step_kind(entry))
            )
        self._seen_in_frame.add(step)
        if step.reported:
            return events
        step.entry = entry
        return events + self._report([step], _EMPTY_OBSERVATION)

    def flush_empty_results(self) -> list[StepResult]:
        """Return the results of the steps whose list of hits is still empty."""
        return self._report(self._steps, _NO_OBSERVATION)

    def end(self) -> list[StepResult]:
        """Return the results of the remaining steps, even without an observation."""
        return self._report(self._steps, ())

    def _report(self, steps: list[_Step], pending_observations: tuple[Any, ...]) -> list[StepResult]:
        results = []
        for step in steps:
            if not step.reported and step.entry.get("observation") not in pending_observations:
                step.group.mark_reported(step)
                results.append(StepResult(step.id, step.entry))
        return results


def step_kind(entry: dict[str, Any]) -> str | None:
    """Return the kind of a step: `"retrieval"`, `"memory"`, `"plugin"`, or None if it is unknown.

    Recordings contain retrieval and memory steps. Plugins appear only in the SDKs' test data.
    """
    if entry.get("action_type") == "agentRag" or entry.get("action") == "rag":
        return "retrieval"
    if entry.get("action") == "memory":
        return "memory"
    return "plugin" if entry.get("action_type") == "api" else None


def _observation_key(observation: Any) -> str:
    return observation if isinstance(observation, str) else json.dumps(observation, sort_keys=True)


def _call_key(entry: dict[str, Any]) -> str:
    return json.dumps([entry.get("action"), entry.get("action_name"), _read_arguments(entry)])


def _read_arguments(entry: dict[str, Any]) -> Any:
    """Return the arguments of a step.

    Recordings have `arguments`; both SDKs have `action_input`. Either may be an object or JSON text.
    """
    for name in ("arguments", "action_input", "action_input_stream"):
        arguments = wire_json.parse_nested(entry.get(name))
        if arguments not in (None, "", {}, []):
            return arguments
    return None


def _choose_step_name(entry: dict[str, Any]) -> str:
    names = (entry.get("action_name"), entry.get("action"), entry.get("action_type"))
    return str(next(filter(None, names), "step"))


def _arguments_as_dict(entry: dict[str, Any]) -> dict[str, Any]:
    arguments = _read_arguments(entry)
    if isinstance(arguments, dict):
        return arguments
    return {} if arguments is None else {"input": arguments}
