"""What the application does on the way to its answer: each step told once, although frames repeat it.

A step is an entry of `thoughts` that is no reasoning: retrieval, memory, a plugin, an MCP tool, or a
kind that nobody has seen yet. Its call goes out when it is first seen, its result when its observation
has come. The raw entry is kept as it came.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from langchain_bailian_app import _lenient_json

_ABSENT: tuple[Any, ...] = (None, "")
# An empty list of hits may be filled in by a later frame, so it waits until the answer begins.
_NOT_YET: tuple[Any, ...] = (*_ABSENT, [], "[]")


@dataclass(frozen=True, slots=True)
class StepCall:
    """A step has begun."""

    id: str
    name: str
    args: dict[str, Any]
    kind: str | None = None
    """`"retrieval"`, `"memory"` or `"plugin"`; None for a kind that no source shows."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """A step has its observation, or will not get one."""

    call_id: str
    entry: dict[str, Any]
    """The entry of `thoughts`, verbatim."""


@dataclass(slots=True)
class _Step:
    id: str
    entry: dict[str, Any]
    told: bool = False

    def takes(self, observation: Any) -> bool:
        """Whether an entry with this observation is the same step again."""
        return not self.told or observation in _ABSENT or observation == self.entry.get("observation")


class Steps:
    """Follows the steps through the frames of one answer."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self._by_key: dict[str, list[_Step]] = {}
        self._in_frame: set[str] = set()

    def next_frame(self) -> None:
        """Begin a frame: two equal entries of one frame are two steps."""
        self._in_frame.clear()

    def feed(self, entry: dict[str, Any]) -> list[StepCall | StepResult]:
        """Return what this entry tells that was not known."""
        if not any(entry.values()):
            return []
        calls: list[StepCall | StepResult] = []
        same_call = self._by_key.setdefault(_key(entry), [])
        observation = entry.get("observation")
        for step in same_call:
            if step.id not in self._in_frame and step.takes(observation):
                break
        else:
            step = _Step(f"bailian_{len(self._steps)}", entry)
            self._steps.append(step)
            same_call.append(step)
            calls.append(StepCall(step.id, _name(entry), _args(entry), kind_of(entry)))
        self._in_frame.add(step.id)
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
                step.told = True
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


def _key(entry: dict[str, Any]) -> str:
    return json.dumps([entry.get("action"), entry.get("action_name"), _arguments(entry)])


def _arguments(entry: dict[str, Any]) -> Any:
    """Recordings have `arguments`, both SDKs `action_input`; either may be an object or JSON text."""
    for name in ("arguments", "action_input", "action_input_stream"):
        arguments = _lenient_json.opened(entry.get(name))
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
