"""What an app says and thinks: by its script, or the usual way. A script's mistakes become refusals."""

from collections.abc import Callable
from typing import TypeVar

from langchain_bailian_app.emulator._apps.app import App
from langchain_bailian_app.emulator._apps.default_answers import usual_reasoning, usual_reply
from langchain_bailian_app.emulator._apps.turn import Reply, Turn
from langchain_bailian_app.emulator._http.errors import ErrorReply, RequestRefused

_T = TypeVar("_T")


def reply_of(app: App, turn: Turn, *, cites: bool) -> Reply:
    """What an app says to a turn.

    Raises:
        RequestRefused: Its script failed.
    """
    if app.answer is None:
        return usual_reply(turn, cites=cites)
    if isinstance(app.answer, str):
        return Reply(app.answer)
    said = scripted(app.answer, turn, (str, Reply), "neither a text nor a Reply")
    return Reply(said) if isinstance(said, str) else said


def reasoning_of(reply: Reply, turn: Turn) -> str:
    """What is thought before a reply; nothing while thinking is off."""
    if not turn.thinking:
        return ""
    return usual_reasoning(turn) if reply.reasoning is None else reply.reasoning


def text_of(script: Callable[[Turn], str], turn: Turn) -> str:
    """What the function of a node says to a turn.

    Raises:
        RequestRefused: It failed.
    """
    return scripted(script, turn, (str,), "no text")


def scripted(script: Callable[[Turn], _T], turn: Turn, kinds: tuple[type, ...], otherwise: str) -> _T:
    """Call a script, which is not ours: whatever it does must reach the client as a refusal.

    Raises:
        RequestRefused: It raised, or returned nothing of the kinds wanted.
    """
    try:
        said = script(turn)
    except Exception as exc:
        message = f"The scripted answer raised {exc!r}."
        raise RequestRefused(ErrorReply.of("AppProcessFailed", message=message)) from exc
    if not isinstance(said, kinds):
        message = f"The scripted answer returned {said!r}: {otherwise}."
        raise RequestRefused(ErrorReply.of("AppProcessFailed", message=message))
    return said
