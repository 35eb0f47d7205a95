"""From a turn to a reply with nothing left open: of a workflow, or of an app that speaks itself."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

from langchain_bailian_app.emulator._apps.app import App
from langchain_bailian_app.emulator._apps.scripts import reasoning_of, reply_of
from langchain_bailian_app.emulator._apps.turn import Reply, Turn
from langchain_bailian_app.emulator._completion.frames import Composition
from langchain_bailian_app.emulator._completion.request import Call
from langchain_bailian_app.emulator._completion.thoughts import reference_of, steps_of
from langchain_bailian_app.emulator._completion.workflow_frames import WorkflowComposition, mode_of
from langchain_bailian_app.emulator._completion.workflow_run import run_workflow
from langchain_bailian_app.emulator.text import TokenCounter, cut, without_markers


class Composed(Protocol):
    """A reply with nothing left open."""

    @property
    def request_id(self) -> str:
        """The id of the request."""

    @property
    def text(self) -> str:
        """The text of the reply, as a session keeps it."""

    @property
    def frame_count(self) -> int:
        """How many frames the stream has."""

    @property
    def paces(self) -> int:
        """How many frames' time the reply takes without a stream."""

    def text_after(self, frames: int) -> str:
        """The text that this many frames of the stream have carried."""

    def whole(self) -> dict[str, Any]:
        """The JSON of a reply that is not streamed."""

    def stream(self) -> Iterator[dict[str, Any]]:
        """The JSON of each frame."""


def composed(app: App, call: Call, turn: Turn, request_id: str) -> Composed:
    """Settle everything a reply leaves open.

    Raises:
        RequestRefused: A script failed, or there is no such `flow_stream_mode`.
    """
    if app.kind == "workflow":
        return _workflow(app, call, turn, request_id)
    return _spoken(app, call, turn, request_id)


def _workflow(app: App, call: Call, turn: Turn, request_id: str) -> WorkflowComposition:
    shows_thoughts = app.shows_thoughts(asked=call.has_thoughts)
    return WorkflowComposition(
        request_id=request_id,
        session_id=turn.session_id,
        mode=mode_of(call.flow_stream_mode, shows_thoughts=shows_thoughts),
        course=run_workflow(app, turn),
        shows_thoughts=shows_thoughts,
        incremental=call.incremental and not app.ignores_incremental,
        completed_as_text=app.completed_as_text,
        end_repeats=app.end_repeats,
    )


def _spoken(app: App, call: Call, turn: Turn, request_id: str) -> Composition:
    shows_references, marks = _references(app, call)
    reply = reply_of(app, turn, cites=marks)
    if not marks and app.kind != "agent":
        reply = _unmarked(reply)
    shows_thoughts = app.shows_thoughts(asked=call.has_thoughts)
    references = reply.references
    if references is None:
        references = [reference_of(hit) for hit in turn.hits] if shows_references else []
    steps = steps_of(turn) if reply.steps is None else reply.steps
    return Composition(
        request_id=request_id,
        session_id=turn.session_id,
        text=reply.text,
        pieces=cut(reply.text) if reply.pieces is None else reply.pieces,
        reasoning=reasoning_of(reply, turn) if shows_thoughts else "",
        steps=steps if shows_thoughts else [],
        references=references,
        finish_reason=reply.finish_reason,
        model_id=call.model_id or app.model_id,
        input_tokens=_input_tokens(turn),
        usage=reply.usage,
        incremental=call.incremental and not app.ignores_incremental,
        repeat_steps=app.repeat_steps,
        unmarked=shows_references and not marks,
    )


def _references(app: App, call: Call) -> tuple[bool, bool]:
    """Whether a reply lists references, and whether its text has markers."""
    if app.kind == "agent2":
        return False, False
    # What a request to the legacy application asks for beats the console.
    if call.reference_type is not None:
        return True, call.reference_type == "indexed"
    return app.show_references, app.show_references


def _unmarked(reply: Reply) -> Reply:
    """A reply without markers; its own pieces may have cut them, so they are made anew."""
    text = without_markers(reply.text)
    return reply if text == reply.text else replace(reply, text=text, pieces=None)


def _input_tokens(turn: Turn) -> int:
    said = "".join(r.prompt + r.answer for r in turn.history)
    found = "".join(hit.chunk.content for hit in turn.hits)
    return TokenCounter(turn.system + said + found + turn.prompt).tokens
