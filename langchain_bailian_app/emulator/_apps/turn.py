"""Input and output of every answer: `Turn` and `Reply`.

Plain data: a request is parsed into a `Turn`, and the frames are built from a `Reply`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_bailian_app.emulator._knowledge.knowledge_base import Hit
from langchain_bailian_app.emulator._state.sessions import Round


@dataclass(frozen=True)
class Turn:
    """The input of an answer.

    Attributes:
        prompt: The question: `input.prompt`, or the last user message.
        history: The earlier rounds from the session, from `messages`, or from the legacy `history`,
            oldest first.
        system: The app's prompt with its variables filled in, followed by the system messages.
        session_id: Id of the session that the answer belongs to.
        searched: Whether knowledge bases or session files were searched, even if nothing was found.
        hits: The chunks found by the search, best first.
        memory_id: Id of the long-term memory in use, or None.
        memories: Up to five of the newest facts about the user in that memory, as `[time] fact`.
        images: URLs in `input.image_list`.
        files: URLs in `input.file_list`, then ids in `rag_options.session_file_ids`.
        biz_params: `input.biz_params`.
        parameters: `parameters` of the request, without the fields that this kind of app ignores.
        thinking: Whether the app reasons before it answers.
    """

    prompt: str
    history: tuple[Round, ...] = ()
    system: str = ""
    session_id: str = ""
    searched: bool = False
    hits: tuple[Hit, ...] = ()
    memory_id: str | None = None
    memories: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    biz_params: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    thinking: bool = False


@dataclass(frozen=True)
class Reply:
    """An answer. Only `text` is required; the emulator fills in fields that are None.

    Args:
        text: The text, with `<ref>[n]</ref>` markers if it has citations. As in captures of the
            service, each Markdown picture (`![…](…)`) in an agent's answer is sent in one frame, after
            two frames with empty text.
        reasoning: The reasoning before the text, used if thinking is on. Default: a few sentences about
            the turn.
        steps: Entries of `thoughts` before the reasoning. Default: the memory and retrieval steps.
        references: Entries of `doc_references` that the text can cite. Default: one per hit.
        pieces: The text of each frame of a stream. Default: pieces of one to six characters.
        finish_reason: `finish_reason` of the complete answer. Default: `stop`.
        usage: `usage.models` of the complete answer. Default: an estimate.
    """

    text: str
    reasoning: str | None = None
    steps: Sequence[Mapping[str, Any]] | None = None
    references: Sequence[Mapping[str, Any]] | None = None
    pieces: Sequence[str] | None = None
    finish_reason: str = "stop"
    usage: Sequence[Mapping[str, Any]] | None = None
