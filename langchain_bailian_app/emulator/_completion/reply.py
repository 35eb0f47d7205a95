"""Renderer of replies: builds the frames of a workflow or an agent for a turn."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

from langchain_bailian_app.emulator._apps.app import App
from langchain_bailian_app.emulator._apps.scripts import build_reasoning, build_reply
from langchain_bailian_app.emulator._apps.turn import Reply, Turn
from langchain_bailian_app.emulator._completion.frames import RenderedAgentReply
from langchain_bailian_app.emulator._completion.request import CompletionRequest
from langchain_bailian_app.emulator._completion.thoughts import build_reference, build_steps
from langchain_bailian_app.emulator._completion.workflow_frames import (
    RenderedWorkflowReply,
    resolve_flow_stream_mode,
)
from langchain_bailian_app.emulator._completion.workflow_run import run_workflow
from langchain_bailian_app.emulator.text import TokenCounter, split_into_pieces, strip_markers


class RenderedReply(Protocol):
    """A reply with all defaults filled in."""

    @property
    def request_id(self) -> str:
        """The id of the request."""

    @property
    def text(self) -> str:
        """The text of the reply, as saved in the session."""

    @property
    def frame_count(self) -> int:
        """Number of frames of the stream."""

    @property
    def duration_frames(self) -> int:
        """Duration of a reply without streaming, measured in frames."""

    def sent_text(self, frames_sent: int) -> str:
        """Return the text in the first `frames_sent` frames of the stream."""

    def full_payload(self) -> dict[str, Any]:
        """Build the JSON of a reply without streaming."""

    def frame_payloads(self) -> Iterator[dict[str, Any]]:
        """Yield the JSON of each frame."""


def render_reply(app: App, request: CompletionRequest, turn: Turn, request_id: str) -> RenderedReply:
    """Build the reply to a turn and fill in its defaults.

    Raises:
        RequestRefused: A script failed, or `flow_stream_mode` is unknown.
    """
    if app.kind == "workflow":
        return _render_workflow_reply(app, request, turn, request_id)
    return _render_agent_reply(app, request, turn, request_id)


def _render_workflow_reply(
    app: App, request: CompletionRequest, turn: Turn, request_id: str
) -> RenderedWorkflowReply:
    shows_thoughts = app.shows_thoughts(asked=request.has_thoughts)
    return RenderedWorkflowReply(
        request_id=request_id,
        session_id=turn.session_id,
        mode=resolve_flow_stream_mode(request.flow_stream_mode, shows_thoughts=shows_thoughts),
        workflow_run=run_workflow(app, turn),
        shows_thoughts=shows_thoughts,
        incremental=request.incremental and not app.ignores_incremental,
        completed_as_text=app.completed_as_text,
        end_repeats=app.end_repeats,
        reject_status=app.reject_status,
    )


def _render_agent_reply(
    app: App, request: CompletionRequest, turn: Turn, request_id: str
) -> RenderedAgentReply:
    shows_references, has_markers = _resolve_citation_style(app, request)
    reply = build_reply(app, turn, cite=has_markers)
    if not has_markers and app.kind != "agent":
        reply = _remove_citations(reply)
    shows_thoughts = app.shows_thoughts(asked=request.has_thoughts)
    references = reply.references
    if references is None:
        references = [build_reference(hit) for hit in turn.hits] if shows_references else []
    steps = build_steps(turn) if reply.steps is None else reply.steps
    return RenderedAgentReply(
        request_id=request_id,
        session_id=turn.session_id,
        text=reply.text,
        pieces=split_into_pieces(reply.text) if reply.pieces is None else reply.pieces,
        reasoning=build_reasoning(reply, turn),
        steps=steps if shows_thoughts else [],
        references=references,
        finish_reason=reply.finish_reason,
        model_id=request.model_id or app.model_id,
        input_tokens=_count_input_tokens(turn),
        usage=reply.usage,
        incremental=request.incremental and not app.ignores_incremental,
        repeat_steps=app.repeat_steps,
        step_form=app.step_form,
        reasoning_field=app.reasoning_field,
        lists_all_references=shows_references and not has_markers,
        shows_reasoning=shows_thoughts,
        text_in_last_frame=app.text_in_last_frame,
        reject_status=app.reject_status,
    )


def _resolve_citation_style(app: App, request: CompletionRequest) -> tuple[bool, bool]:
    """Return whether a reply lists references, and whether its text has markers."""
    if app.kind == "agent2":
        return False, False
    # Only a legacy application has `reference_type`; it overrides the console.
    if request.reference_type is not None:
        return True, request.reference_type == "indexed"
    return app.show_references, app.show_references


def _remove_citations(reply: Reply) -> Reply:
    """Remove the markers from a reply; drop its pieces, since they may contain parts of a marker."""
    text = strip_markers(reply.text)
    return reply if text == reply.text else replace(reply, text=text, pieces=None)


def _count_input_tokens(turn: Turn) -> int:
    history_text = "".join(r.prompt + r.answer for r in turn.history)
    hits_text = "".join(hit.chunk.content for hit in turn.hits)
    return TokenCounter(turn.system + history_text + hits_text + turn.prompt).tokens
