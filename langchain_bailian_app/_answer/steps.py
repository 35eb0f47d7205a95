"""What the application does on the way to its answer: each step told once, although frames repeat it.

A step is an entry of `thoughts` that is no reasoning: retrieval, memory, a plugin, an MCP tool, or a
kind that nobody has seen yet. Its call goes out when it is first seen, its result when its observation
has come. The raw entry is kept as it came.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.events import StepCall, StepResult

_ABSENT: tuple[Any, ...] = (None, "")
# An empty list of hits may be filled in by a later frame, so it waits until the answer begins.
_NOT_YET: tuple[Any, ...] = (*_ABSENT, [], "[]")


@dataclass(slots=True, eq=False)
class _Step:
    number: int
    entry: dict[str, Any]
    same_call: _SameCall
    told: bool = False

    @property
    def id(self) -> str:
        return f"bailian_{self.number}"


class _SameCall:
    """The steps with one name and the same arguments, found by what they have observed."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []
        self._untold: list[_Step] = []
        self._told: dict[str, list[_Step]] = {}

    def add(self, step: _Step) -> None:
        self.steps.append(step)
        self._untold.append(step)

    def tell(self, step: _Step) -> None:
        """Note that the result of a step has gone out."""
        step.told = True
        self._untold.remove(step)
        self._told.setdefault(_text(step.entry.get("observation")), []).append(step)

    def again(self, observation: Any, in_frame: set[_Step]) -> _Step | None:
        """Return the first step that an entry with this observation may be, if it is none of these."""
        candidates = (
            self.steps
            if observation in _ABSENT
            else [*self._untold, *self._told.get(_text(observation), ())]
        )
        others = (step for step in candidates if step not in in_frame)
        return min(others, key=lambda step: step.number, default=None)


class Steps:
    """Follows the steps through the frames of one answer."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self._by_key: dict[str, _SameCall] = {}
        self._in_frame: set[_Step] = set()

    def next_frame(self) -> None:
        """Begin a frame: two equal entries of one frame are two steps."""
        self._in_frame.clear()

    def feed(self, entry: dict[str, Any]) -> list[StepCall | StepResult]:
        """Return what this entry tells that was not known."""
        if not any(entry.values()):
            return []
        calls: list[StepCall | StepResult] = []
        same_call = self._by_key.setdefault(_key(entry), _SameCall())
        step = same_call.again(entry.get("observation"), self._in_frame)
        if step is None:
            step = _Step(len(self._steps), entry, same_call)
            self._steps.append(step)
            same_call.add(step)
            calls.append(StepCall(step.id, _name(entry), _args(entry), kind_of(entry)))
        self._in_frame.add(step)
        if step.told:
            return calls
        step.entry = entry
        return calls + self._tell([step], _NOT_YET)

    def answer_begins(self) -> list[StepResult]:
        """Return the results of the steps that have found nothing."""
        return self._tell(self._steps, _ABSENT)

    def end(self) -> list[StepResult]:
        """Return the results of the steps that never got an observation."""
        return self._tell(self._steps, ())

    def _tell(self, steps: list[_Step], waiting: tuple[Any, ...]) -> list[StepResult]:
        results = []
        for step in steps:
            if not step.told and step.entry.get("observation") not in waiting:
                step.same_call.tell(step)
                results.append(StepResult(step.id, step.entry))
        return results


def kind_of(entry: dict[str, Any]) -> str | None:
    """Return what a step does: `"retrieval"`, `"memory"`, `"plugin"`, or None if that is not known.

    Retrieval and memory are recorded; plugins are in the SDKs' test data only.
    """
    if entry.get("action_type") == "agentRag" or entry.get("action") == "rag":
        return "retrieval"
    if entry.get("action") == "memory":
        return "memory"
    return "plugin" if entry.get("action_type") == "api" else None


def _text(observation: Any) -> str:
    return observation if isinstance(observation, str) else json.dumps(observation, sort_keys=True)


def _key(entry: dict[str, Any]) -> str:
    return json.dumps([entry.get("action"), entry.get("action_name"), _arguments(entry)])


def _arguments(entry: dict[str, Any]) -> Any:
    """Recordings have `arguments`, both SDKs `action_input`; either may be an object or JSON text."""
    for name in ("arguments", "action_input", "action_input_stream"):
        arguments = wire_json.opened(entry.get(name))
        if arguments not in (None, "", {}, []):
            return arguments
    return None


def _name(entry: dict[str, Any]) -> str:
    names = (entry.get("action_name"), entry.get("action"), entry.get("action_type"))
    return str(next(filter(None, names), "step"))


def _args(entry: dict[str, Any]) -> dict[str, Any]:
    arguments = _arguments(entry)
    if isinstance(arguments, dict):
        return arguments
    return {} if arguments is None else {"input": arguments}
