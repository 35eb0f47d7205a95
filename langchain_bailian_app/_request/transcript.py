"""Turns of a conversation, and how a request tells them: as a prompt, as messages, or as rounds.

`prompt` and `messages` never go together: on the wire one of them silently wins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import ChatMessage, HumanMessage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app._settings.application import ApplicationFields

_CHINESE = re.compile("[\u4e00-\u9fff]")
_LABELS = {
    "zh": {"system": "系统：", "user": "用户：", "assistant": "助手："},
    "en": {"system": "System: ", "user": "User: ", "assistant": "Assistant: "},
}


@dataclass(frozen=True, slots=True)
class Turn:
    """A message in the form in which it would be sent."""

    role: str
    text: str
    images: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def whole_conversation(turns: list[Turn], options: ApplicationFields) -> dict[str, Any]:
    """Return what a request says of all turns: a prompt for one, else a transcript, rules first.

    Raises:
        ValueError: There is no question in them.
    """
    questions = [turn for turn in turns if turn.role == "user"]
    if not questions:
        message = "the messages have no human message: an application answers a question"
        raise ValueError(message)
    _checked(questions[-1])
    if len(turns) == 1:
        return {"prompt": turns[0].text}
    ordered = sorted(turns, key=lambda turn: turn.role != "system")
    if options.agent_version == "2.0" or options.legacy_history:
        if ordered[-1].role != "user":
            message = "this kind of application takes a human message as the last one"
            raise ValueError(message)
        return _labelled(ordered) if options.agent_version else _legacy(ordered)
    return {"messages": [{"role": turn.role, "content": turn.text} for turn in ordered]}


def _labelled(turns: list[Turn]) -> dict[str, Any]:
    """Return a transcript as one prompt, in the language of its last line."""
    labels = _LABELS[language_of(turns[-1].text)]
    return {"prompt": "\n\n".join(f"{labels[turn.role]}{turn.text}" for turn in turns)}


def _legacy(turns: list[Turn]) -> dict[str, Any]:
    """Return the last question, with the rules in front of it, and the rounds before."""
    *earlier, question = [turn for turn in turns if turn.role != "system"]
    rounds: list[dict[str, str]] = []
    for turn in earlier:
        if turn.role == "user" or not rounds:
            rounds.append({"user": "", "bot": ""})
        side = "user" if turn.role == "user" else "bot"
        rounds[-1][side] = "\n\n".join(filter(None, (rounds[-1][side], turn.text)))
    rules = [turn.text for turn in turns if turn.role == "system" and turn.text]
    told: dict[str, Any] = {"history": rounds} if rounds else {}
    return {"prompt": "\n\n".join((*rules, question.text))} | told


def new_question(turns: list[Turn]) -> tuple[list[str], Turn]:
    """Return what a session has not seen: the rules for its first prompt, and the newest question.

    Raises:
        ValueError: There is not exactly one new question.
    """
    answers = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    new = turns[answers[-1] + 1 :] if answers else turns
    questions = [turn for turn in new if turn.role == "user"]
    if len(questions) != 1:
        message = (
            "a session takes exactly one new human message, after the newest answer, but there are "
            f"{len(questions)}: leave out `session_id` to send the messages as they are"
        )
        raise ValueError(message)
    rules = [] if answers else [turn.text for turn in new if turn.role == "system"]
    return rules, _checked(questions[0])


def _checked(question: Turn) -> Turn:
    if not question.text.strip():
        message = "the question has no text: an application needs words, also beside an image or a file"
        raise ValueError(message)
    return question


def language_of(text: str) -> Literal["zh", "en"]:
    """Return the language in which to add words of our own to a text."""
    return "zh" if _CHINESE.search(text) else "en"


def last_question(messages: Sequence[BaseMessage]) -> int | None:
    """Return the place of the last message of a human; None if there is none."""
    for place in reversed(range(len(messages))):
        message = messages[place]
        role = message.role if isinstance(message, ChatMessage) else None
        if isinstance(message, HumanMessage) or role in {"user", "human"}:
            return place
    return None
