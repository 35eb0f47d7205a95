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

    @property
    def has_text(self) -> bool:
        """False if the text is empty or only white space.

        The platform documents that it rejects a message without content, and one such message in a
        stored conversation would make all later calls fail. White space may be stripped before that
        check (unverified), and leaving it out changes no answer.
        """
        return bool(self.text.strip())


def build_conversation(turns: list[Turn], options: CompletionFields) -> dict[str, Any]:
    """Return the input fields for all turns with text: a prompt for one turn, otherwise a transcript.

    In a transcript, system turns are first. Images and files are sent in fields of their own, also
    those of turns without text.

    Raises:
        ValueError: There is no question, the last question has no text, or the last turn must be a
            question and is not.
    """
    questions = [turn for turn in turns if turn.role == "user"]
    if not questions:
        message = "missing human message: an application requires a question; add a human message"
        raise ValueError(message)
    require_text(questions[-1])
    sent_turns = [turn for turn in turns if turn.has_text]
    if len(sent_turns) == 1:
        return {"prompt": sent_turns[0].text}
    ordered_turns = sorted(sent_turns, key=lambda turn: turn.role != "system")
    if options.agent_version == "2.0" or options.legacy_history:
        if ordered_turns[-1].role != "user":
            message = (
                "the last message must be a human message for this kind of application: add the new "
                "question, or remove the messages after the last one"
            )
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
    system_texts = [turn.text for turn in turns if turn.role == "system"]
    history: dict[str, Any] = {"history": rounds} if rounds else {}
    return {"prompt": "\n\n".join((*system_texts, question.text))} | history


def split_new_turns(turns: Sequence[Turn]) -> tuple[str, list[Turn]]:
    """Return the prompt for a session, and the turns after the newest answer.

    The prompt is the new question. System turns with text are put in front of it if the session has no
    answer yet. The images and files of all new turns belong to the prompt.

    Raises:
        ValueError: There is not exactly one new question with text, or the newest one has no text.
    """
    new_turns = turns_after_newest_answer(turns)
    questions = [turn for turn in new_turns if turn.role == "user"]
    if questions:
        require_text(questions[-1])
    questions = [turn for turn in questions if turn.has_text]
    if len(questions) != 1:
        message = (
            "a session requires exactly one new human message after the newest answer, got "
            f"{len(questions)}: omit `session_id` to send all messages"
        )
        raise ValueError(message)
    is_first = len(new_turns) == len(turns)
    system_texts = [turn.text for turn in new_turns if turn.role == "system" and turn.has_text]
    return "\n\n".join((*(system_texts if is_first else ()), questions[0].text)), new_turns


def turns_after_newest_answer(turns: Sequence[Turn]) -> list[Turn]:
    """Return the turns after the newest answer, which may be without text, or all turns."""
    answer_indexes = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
    return list(turns[answer_indexes[-1] + 1 :] if answer_indexes else turns)


def count_unsent_turns(turns: Sequence[Turn]) -> int:
    """Return the number of turns with content that a request to a session does not contain.

    Raises:
        ValueError: The turns cannot be sent to a session.
    """
    _, new_turns = split_new_turns(turns)
    unsent_turns = [*turns[: len(turns) - len(new_turns)]]
    if unsent_turns:
        unsent_turns += [turn for turn in new_turns if turn.role == "system"]
    return sum(bool(turn.has_text or turn.images or turn.files) for turn in unsent_turns)


def require_text(question: Turn) -> None:
    """Reject a question without text.

    Raises:
        ValueError: The question has no text.
    """
    if not question.has_text:
        message = (
            "missing text: the question has no text, which an application requires even with an image "
            "or a file; add a text to the newest human message"
        )
        raise ValueError(message)


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
