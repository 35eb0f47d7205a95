"""Reader of the steps of an application.

A step is an entry of `thoughts` other than reasoning: retrieval, memory, a plugin, an MCP tool, or an
unknown kind. Frames repeat steps or send them in pieces, but each step is reported once: the call when
its arguments are complete, and the result when the observation is complete. The raw entry is kept; the
pieces in it are joined.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.events import ReasoningDelta, StepCall, StepResult
from langchain_bailian_app._answer.observations import is_error_result
from langchain_bailian_app._answer.streamed_values import (
    EMPTY_VALUES,
    Change,
    StreamedValue,
    StreamForm,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

StepEvent = StepCall | StepResult | ReasoningDelta
_Changes = dict[str, Change]

# Recordings have `arguments`; both SDKs have `action_input`. Each may be an object or JSON text.
_ARGUMENT_FIELDS = ("arguments", "action_input", "action_input_stream")
_NAME_FIELDS = ("action", "action_name", "action_type")
# Texts that may arrive in pieces. They do not distinguish one step from another.
_TEXT_FIELDS = ("thought", "response", "reasoning_content")
_STREAMED_FIELDS = (*_ARGUMENT_FIELDS, "observation", *_TEXT_FIELDS)
# In place of arguments that another field contains, or of no arguments.
_PLACEHOLDERS: tuple[Any, ...] = ({}, [], "{}", "[]")
# A later frame may fill an empty list of hits, so the list is not reported until the answer begins.
_NO_HITS: tuple[Any, ...] = ([], "[]")


class _Stream:
    """What the frames have shown about the stream; shared by its steps."""

    def __init__(self) -> None:
        self.forms = {name: StreamForm() for name in _STREAMED_FIELDS}
        self.omits_arguments = False
        """Whether later pieces of a step do not repeat its arguments."""
        self.frame = 0
        self.is_last_frame = False

    @property
    def has_pieces(self) -> bool:
        """Whether steps arrive in pieces."""
        return self.omits_arguments or any(form.has_pieces for form in self.forms.values())

    def is_whole(self, entry: dict[str, Any]) -> bool:
        """Return whether an entry has a whole observation, because it has the arguments too."""
        is_increment = self.forms["observation"].form == "increments"
        return (self.omits_arguments or not is_increment) and _has_arguments(entry)


class _Step:
    """A step, with what has arrived of it so far."""

    def __init__(self, number: int, position: int, stream: _Stream) -> None:
        self.number = number
        self.position = position
        """Position in the list of the latest frame that contains the step."""
        self.entry: dict[str, Any] = {}
        self.latest_entry: dict[str, Any] = {}
        self._stream = stream
        self.values = {name: StreamedValue(form) for name, form in stream.forms.items()}
        self.observation = self.values["observation"]
        self.changed_in_frame = 0
        self.call_key = ""
        """Key of the call that has been reported; equal calls have the same key."""
        self.result_reported = False
        self._reasoning_length = 0

    @property
    def id(self) -> str:
        return f"bailian_{self.number}"

    @property
    def call_reported(self) -> bool:
        return bool(self.call_key)

    @property
    def arguments(self) -> list[StreamedValue]:
        """The values that have arrived in the fields of the arguments."""
        return [value for name in _ARGUMENT_FIELDS if not (value := self.values[name]).is_empty]

    @property
    def has_open_arguments(self) -> bool:
        return any(value.is_open for value in self.arguments)

    @property
    def has_complete_arguments(self) -> bool:
        values = self.arguments
        # `{}` may be a placeholder for the arguments in another field.
        has_value = any(value.is_complete and value.get() != "{}" for value in values)
        are_complete = bool(values) and all(value.is_complete for value in values)
        return (has_value and not self.has_open_arguments) or are_complete

    @property
    def has_changed(self) -> bool:
        """Whether the step has changed in this frame."""
        return self.changed_in_frame == self._stream.frame

    @property
    def awaits_more(self) -> bool:
        """Whether an entry that equals the latest one may be another piece."""
        return not self.result_reported and not (self.call_reported and self.observation.is_empty)

    def has_name_of(self, entry: dict[str, Any]) -> bool:
        """Return whether the entry has the name of this step. Later pieces may omit the name."""
        names = [(entry.get(field), self.entry.get(field)) for field in _NAME_FIELDS]
        if all(new in EMPTY_VALUES for new, _ in names) and not _has_content(entry):
            return all(name in EMPTY_VALUES for _, name in names)
        return all(new in EMPTY_VALUES or new == name for new, name in names)

    def compare(self, entry: dict[str, Any]) -> _Changes | None:
        """Return what the entry changes in each field, or None if it belongs to another step."""
        changes: _Changes = {}
        for name, value in self.values.items():
            if entry.get(name) in EMPTY_VALUES:
                continue
            if name == "observation":
                change = self._compare_observation(entry[name], entry)
            elif name in _ARGUMENT_FIELDS:
                change = self._compare_arguments(value, entry[name], entry)
            else:
                change = value.compare(entry[name]) or Change.REPLACEMENT
            if change is None:
                return None
            if not self.result_reported or name == "reasoning_content":
                changes[name] = change
        return changes

    def _compare_arguments(
        self, value: StreamedValue, new: Any, entry: dict[str, Any]
    ) -> Change | None:
        """Compare one field of the arguments.

        `杭` and `州` are increments. `杭州`, then `苏州` beside an observation or a placeholder, are
        two calls; without these, they cannot be distinguished from increments. After the observation,
        other arguments are always another call.
        """
        is_first = self.observation.is_empty
        if new in ({}, []) and (is_first or not _has_observation(entry)):
            return Change.NONE  # a placeholder
        if is_first:
            has_placeholder = any(entry.get(name) in _PLACEHOLDERS for name in _ARGUMENT_FIELDS)
            return value.compare(new, is_whole=has_placeholder or _has_observation(entry))
        if value.is_empty:
            is_equal = new in _PLACEHOLDERS or any(other.equals(new) for other in self.arguments)
            return Change.REPLACEMENT if is_equal else None
        return Change.NONE if value.equals(new) else None

    def _compare_observation(self, new: Any, entry: dict[str, Any]) -> Change | None:
        """Compare the observation.

        Beside the arguments, `晴` and `雨` are the results of two calls, and `晴` and `晴，雨` are one
        that grows. Without the arguments, `晴` and `雨` are increments.
        """
        value, stream = self.observation, self._stream
        if self.result_reported:
            is_longer = value.is_text and isinstance(new, str) and new.startswith(value.get())
            return Change.NONE if is_longer or value.equals(new) else None
        is_whole = stream.is_whole(entry)
        change = value.compare(new, is_whole=is_whole, is_last=stream.is_last_frame)
        if change is not None:
            return change
        if value.get() in _NO_HITS:
            return Change.REPLACEMENT
        # Text may only begin like JSON: `{`, `}x`.
        is_piece = value.is_text and isinstance(new, str) and not _has_arguments(entry)
        return Change.INCREMENT if is_piece and self.arguments else None

    def add(self, entry: dict[str, Any], changes: _Changes) -> None:
        """Add an entry that belongs to this step."""
        self.entry |= {
            name: value
            for name, value in entry.items()
            if name not in self.entry or value not in EMPTY_VALUES
        }
        for name, change in changes.items():
            self.values[name].apply(entry[name], change)
        if changes.get("reasoning_content") is Change.REPLACEMENT:
            self._reasoning_length = 0

    def build_call(self) -> StepCall:
        entry = self.build_entry()
        self.call_key = _call_key(entry)
        return StepCall(self.id, _choose_step_name(entry), _arguments_as_dict(entry), step_kind(entry))

    def build_result(self, *, is_finished: bool) -> StepResult:
        entry = self.build_entry()
        is_error = is_error_result(entry.get("observation")) or not is_finished
        return StepResult(self.id, entry, "error" if is_error else "success")

    def build_entry(self) -> dict[str, Any]:
        """Return the raw entry; values that arrived in pieces are joined."""
        joined = {
            name: wire_json.repair_surrogates(value.get())
            for name, value in self.values.items()
            if not value.is_empty
        }
        return {name: joined.get(name, value) for name, value in self.entry.items()}

    def take_reasoning(self, *, last: bool = False) -> list[ReasoningDelta]:
        """Return the new part of `reasoning_content`."""
        value = self.values["reasoning_content"]
        text = str(value.get() or "") if last else value.known_text()
        new, self._reasoning_length = text[self._reasoning_length :], len(text)
        return [ReasoningDelta(wire_json.join_surrogates(new))] if new else []


class StepReader:
    """Tracks the steps through the frames of one answer.

    An entry belongs to a step if the names match, and

    - the step is at the same position in the list, and the values are the same or continue those that
      are not complete; or
    - the arguments are equal, and so are the observations, unless one of them is empty; or
    - the values continue those of a step that moved to another position.
    """

    def __init__(self) -> None:
        self._stream = _Stream()
        self._steps: list[_Step] = []
        self._pending: dict[_Step, None] = {}  # steps without a result, in order of appearance
        self._by_position: dict[int, list[_Step]] = {}  # the pending steps and the latest one
        self._by_call: dict[str, list[_Step]] = {}
        self._by_result: dict[tuple[str, str], list[_Step]] = {}
        self._position = 0
        self._seen_in_frame: set[_Step] = set()
        self.is_settled = True
        """Whether the text that follows reports nothing, because no step has changed."""

    @property
    def awaits_more(self) -> bool:
        """Whether a frame with equal entries may contain new pieces."""
        return bool(self._pending) and any(step.awaits_more for step in self._pending)

    def next_frame(self, *, last: bool = False) -> None:
        """Start a new frame. Its entries may repeat earlier steps, but never each other."""
        self._stream.frame += 1
        self._stream.is_last_frame = last
        self._position = 0
        self._seen_in_frame.clear()

    def feed(self, entry: dict[str, Any]) -> list[StepEvent]:
        """Return the new events in this entry."""
        position, self._position = self._position, self._position + 1
        if not any(entry.values()):
            return []
        events: list[StepEvent] = []
        step, changes = self._find_step(entry, position)
        if step is None:
            events += self._report([step for step in self._pending if not step.has_changed])
            step = _Step(len(self._steps), position, self._stream)
            self._steps.append(step)
            self._pending[step] = None
            changes = step.compare(entry) or {}
        self._place(step, position)
        self._seen_in_frame.add(step)
        step.latest_entry = entry
        if step.result_reported:
            if changes:  # reasoning that follows the result
                step.add({name: entry[name] for name in changes}, changes)
                events += step.take_reasoning(last=True)
            return events
        if not step.entry or any(change is not Change.NONE for change in changes.values()):
            step.changed_in_frame = self._stream.frame
            self.is_settled = False
        if _has_observation(entry) and _has_arguments(step.entry) and not _has_arguments(entry):
            self._stream.omits_arguments = True
        step.add(entry, changes)
        events += step.take_reasoning()
        observation, is_last = step.observation, self._stream.is_last_frame
        if step.has_complete_arguments or not observation.is_empty or is_last:
            events += self._report_call(step)
        if not observation.is_empty and (
            is_last or (observation.is_complete and observation.get() not in _NO_HITS)
        ):
            events += self._report_result(step)
        return events

    def report_before_reasoning(self) -> list[StepEvent]:
        """Return the results that new reasoning follows.

        Reasoning may come between the pieces of a step. Then its result is reported after them.
        """
        if not self._pending or self._stream.has_pieces:
            return []
        return self._report(
            [step for step in self._pending if step.call_reported and not step.has_changed]
        )

    def report_before_text(self, *, is_first: bool) -> list[StepEvent]:
        """Return the events of the steps that new text follows; an empty list of hits is then final."""
        has_pieces = self._stream.has_pieces
        steps = [
            step
            for step in self._pending
            if not (step.has_changed and (has_pieces or step.has_open_arguments))
        ]
        self.is_settled = len(steps) == len(self._pending)
        return self._report(steps, accept_no_hits=is_first)

    def end(self, *, is_finished: bool = True) -> list[StepEvent]:
        """Return the remaining events.

        Args:
            is_finished: Whether the answer is complete. If not, a step without an observation failed.
        """
        events: list[StepEvent] = []
        for step in list(self._pending):
            has_result = not (step.observation.is_empty or step.observation.is_open)
            events += self._report_result(step, is_finished=is_finished or has_result)
        return events

    def _find_step(self, entry: dict[str, Any], position: int) -> tuple[_Step | None, _Changes]:
        """Return the step to which an entry belongs, and what it changes."""
        at_position = self._by_position.get(position, [])
        latest = at_position[-1] if at_position else None
        is_done = latest is not None and latest.result_reported and latest not in self._seen_in_frame
        if latest is not None and is_done and entry == latest.latest_entry:
            return latest, {}  # most entries repeat a step
        if _has_observation(entry):  # steps that await the rest of an observation come first
            candidates = sorted(at_position, key=lambda step: step.observation.is_empty)
        else:
            candidates = at_position[::-1]
        for step in chain(candidates, self._find_equal_calls(entry), self._find_moved(entry)):
            if step in self._seen_in_frame or not step.has_name_of(entry):
                continue
            changes = step.compare(entry)
            if changes is None:
                continue
            if self._is_new_call(step, entry):
                break
            return step, changes
        return None, {}

    def _find_equal_calls(self, entry: dict[str, Any]) -> Iterable[_Step]:
        """Return the steps with equal arguments and an equal observation, or without an observation."""
        if not self._steps:
            return
        call = _call_key(entry)
        steps = [
            step for step in self._pending if (step.call_key or _call_key(step.build_entry())) == call
        ]
        if _has_observation(entry):
            steps += self._by_result.get((call, _observation_key(entry["observation"])), ())
        else:
            steps += self._by_call.get(call, ())
        yield from sorted(steps, key=lambda step: step.number)

    def _find_moved(self, entry: dict[str, Any]) -> Iterable[_Step]:
        """Return the steps that an entry at another position may continue."""
        if not _has_content(entry):
            yield from reversed(self._steps)
            return
        for step in self._pending:
            is_awaited = step.observation.is_empty and not _has_arguments(entry)
            if is_awaited or step.has_open_arguments or step.observation.is_open:
                yield step

    def _is_new_call(self, step: _Step, entry: dict[str, Any]) -> bool:
        """Return whether an entry starts another call with the arguments of a call with a result."""
        return (
            self._stream.omits_arguments
            and _has_arguments(entry)
            and not (_has_observation(entry) or step.observation.is_empty or step.observation.is_open)
            and all(self._stream.forms[name].form != "snapshots" for name in _ARGUMENT_FIELDS)
        )

    def _place(self, step: _Step, position: int) -> None:
        """Record the position of a step, which changes if other entries are added or removed."""
        steps = self._by_position.setdefault(position, [])
        if steps and steps[-1] is step:
            return
        if step in self._by_position.get(step.position, ()):
            self._by_position[step.position].remove(step)
        step.position = position
        steps[:] = [other for other in steps if other in self._pending]
        steps.append(step)

    def _report(self, steps: list[_Step], *, accept_no_hits: bool = False) -> list[StepEvent]:
        """Return the events of these steps: their calls, and the results that are not open JSON.

        An empty list of hits is a result only if `accept_no_hits` is set.
        """
        events: list[StepEvent] = []
        for step in steps:
            events += self._report_call(step)
            value = step.observation
            is_result = not (value.is_empty or value.is_open)
            if is_result and (accept_no_hits or value.get() not in _NO_HITS):
                events += self._report_result(step)
        return events

    def _report_call(self, step: _Step) -> list[StepEvent]:
        if step.call_reported:
            return []
        call = step.build_call()
        self._by_call.setdefault(step.call_key, []).append(step)
        return [*step.take_reasoning(last=True), call]

    def _report_result(self, step: _Step, *, is_finished: bool = True) -> list[StepEvent]:
        events = [*self._report_call(step), *step.take_reasoning(last=True)]
        step.result_reported = True
        del self._pending[step]
        result = step.build_result(is_finished=is_finished)
        key = _call_key(result.entry), _observation_key(result.entry.get("observation"))
        self._by_result.setdefault(key, []).append(step)
        return [*events, result]


def step_kind(entry: dict[str, Any]) -> str | None:
    """Return the kind of a step: `"retrieval"`, `"memory"`, `"plugin"`, or None if it is unknown.

    Recordings contain retrieval and memory steps. Plugins appear only in the SDKs' test data.
    """
    if entry.get("action_type") == "agentRag" or entry.get("action") == "rag":
        return "retrieval"
    if entry.get("action") == "memory":
        return "memory"
    return "plugin" if entry.get("action_type") == "api" else None


def _has_arguments(entry: dict[str, Any]) -> bool:
    """Return whether an entry has arguments, or a placeholder for them."""
    for name in _ARGUMENT_FIELDS:  # noqa: SIM110  # twice as fast as `any`
        if entry.get(name) not in EMPTY_VALUES:
            return True
    return False


def _has_observation(entry: dict[str, Any]) -> bool:
    return entry.get("observation") not in EMPTY_VALUES


def _has_content(entry: dict[str, Any]) -> bool:
    return _has_arguments(entry) or _has_observation(entry)


def _observation_key(observation: Any) -> str:
    return observation if isinstance(observation, str) else json.dumps(observation, sort_keys=True)


def _call_key(entry: dict[str, Any]) -> str:
    return json.dumps([entry.get("action"), entry.get("action_name"), _read_arguments(entry)])


def _read_arguments(entry: dict[str, Any]) -> Any:
    """Return the arguments of a step. An empty value may be a placeholder for another field."""
    for name in _ARGUMENT_FIELDS:
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
