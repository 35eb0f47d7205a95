"""What an app is asked and what it replies: the two ends of every answer.

Plain data between the request (`request`) and the frames (`frames`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_bailian_app.emulator._knowledge.knowledge_base import Hit
from langchain_bailian_app.emulator._state.sessions import Round


@dataclass(frozen=True)
class Turn:
    """Everything an app may use for its answer.

    Attributes:
        prompt: The question: `input.prompt`, or the last user message.
        history: The rounds before it, from the session or from `messages`, oldest first.
        system: The app's prompt, its variables filled in, then the system messages.
        session_id: The session the answer belongs to.
        searched: Whether any knowledge base was searched.
        hits: What was found there.
        memory_id: The long-term memory in use, or `None`.
        memories: What it remembers of the user.
        images: `input.image_list`.
        files: `input.file_list`, then `rag_options.session_file_ids`.
        biz_params: `input.biz_params`.
        parameters: `parameters`, as they came.
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
    """An answer. Only `text` is needed; what is `None` is made the usual way.

    Args:
        text: The answer, with `<ref>[n]</ref>` markers if it cites.
        reasoning: What was thought before it; used while thinking is on.
        steps: Entries of `thoughts` before the reasoning; usually memory and retrieval.
        references: `doc_references` to cite from; usually the hits.
        pieces: The text of each frame of a stream; usually one to six characters each.
        finish_reason: How the answer ends.
        usage: `usage.models` of the whole answer; usually an estimate.
    """

    text: str
    reasoning: str | None = None
    steps: Sequence[Mapping[str, Any]] | None = None
    references: Sequence[Mapping[str, Any]] | None = None
    pieces: Sequence[str] | None = None
    finish_reason: str = "stop"
    usage: Sequence[Mapping[str, Any]] | None = None
