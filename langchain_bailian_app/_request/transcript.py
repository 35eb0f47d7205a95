"""Turns of a conversation and their form in a request: a prompt, messages or rounds.

`prompt` and `messages` are never sent together, because the service silently ignores one of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import ChatMessage, HumanMessage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app._request.fields import CompletionFields

_CHINESE_CHARACTER = re.compile("[\u4e00-\u9fff]")
_ROLE_LABELS = {
    "zh": {"system": "系统：", "user": "用户：", "assistant": "助手："},
    "en": {"system": "System: ", "user": "User: ", "assistant": "Assistant: "},
}


@dataclass(frozen=True, slots=True)
class Turn:
    """A message as it is sent to the service."""

    role: str
    text: str
    images: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def build_conversation(turns: list[Turn], options: CompletionFields) -> dict[str, Any]:
    """Return the input fields for all turns: a prompt for one turn, otherwise a transcript.

    In a transcript, system turns are first.

    Raises:
        ValueError: There is no question, the last question has no text, or the last turn must be a
            question and is not.
    """
    questions = [turn for turn in turns if turn.role == "user"]
    if not questions:
        message = "missing human message: an application requires a question"
        raise ValueError(message)
    _require_text(questions[-1])
    if len(turns) == 1:
        return {"prompt": turns[0].text}
    ordered_turns = sorted(turns, key=lambda turn: turn.role != "system")
    if options.agent_version == "2.0" or options.legacy_history:
        if ordered_turns[-1].role != "user":
            message = "the last message must be a human message for this kind of application"
            raise ValueError(message)
        return _as_prompt(ordered_turns) if options.agent_version else _as_rounds(ordered_turns)
    return {"messages": [{"role": turn.role, "content": turn.text} for turn in ordered_turns]}


def _as_prompt(turns: list[Turn]) -> dict[str, Any]:
    """Return a transcript as one prompt, with role labels in the language of its last turn."""
    labels = _ROLE_LABELS[detect_language(turns[-1].text)]
    return {"prompt": "\n\n".join(f"{labels[turn.role]}{turn.text}" for turn in turns)}


def _as_rounds(turns: list[Turn]) -> dict[str, Any]:
    """Return a prompt with the text of system turns and the last question, and the earlier rounds."""
    *earlier_turns, question = [turn for turn in turns if turn.role != "system"]
    rounds: list[dict[str, str]] = []
    for turn in earlier_turns:
        if turn.role == "user" or not rounds:
            rounds.append({"user": "", "bot": ""})
        side = "user" if turn.role == "user" else "bot"
        rounds[-1][side] = "\n\n".join(filter(None, (rounds[-1][side], turn.text)))
    system_texts = [turn.text for turn in turns if turn.role == "system" and turn.text]
    history: dict[str, Any] = {"history": rounds} if rounds else {}
    return {"prompt": "\n\n".join((*system_texts, question.text))} | history


def split_new_question(turns: list[Turn]) -> tuple[list[str], Turn]:
    """Return the system text, which only the first prompt of a session contains, and the question.

    Raises:
        ValueError: There is not exactly one new question.
    """
    answer_indexes = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
    new_turns = turns[answer_indexes[-1] + 1 :] if answer_indexes else turns
    questions = [turn for turn in new_turns if turn.role == "user"]
    if len(questions) != 1:
        message = (
            "a session requires exactly one new human message after the newest answer, got "
            f"{len(questions)}: omit `session_id` to send all messages"
        )
        raise ValueError(message)
    system_texts = [] if answer_indexes else [turn.text for turn in new_turns if turn.role == "system"]
    return system_texts, _require_text(questions[0])


def _require_text(question: Turn) -> Turn:
    if not question.text.strip():
        message = "the question has no text: an application requires text, even with an image or a file"
        raise ValueError(message)
    return question


def detect_language(text: str) -> Literal["zh", "en"]:
    """Return the language of the labels and prompts that are added to `text`."""
    return "zh" if _CHINESE_CHARACTER.search(text) else "en"


def find_last_question(messages: Sequence[BaseMessage]) -> int | None:
    """Return the index of the last human message, or None."""
    for index in reversed(range(len(messages))):
        message = messages[index]
        role = message.role if isinstance(message, ChatMessage) else None
        if isinstance(message, HumanMessage) or role in {"user", "human"}:
            return index
    return None
