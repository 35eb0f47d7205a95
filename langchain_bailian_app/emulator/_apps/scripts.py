"""What an app says and thinks: by its script, or the usual way. A script's mistakes become refusals."""

from collections.abc import Callable
from typing import TypeVar

from langchain_bailian_app.emulator._apps.app import App
from langchain_bailian_app.emulator._apps.default_answers import default_reasoning, default_reply
from langchain_bailian_app.emulator._apps.turn import Reply, Turn
from langchain_bailian_app.emulator._http.errors import ErrorReply, RequestRefused

_T = TypeVar("_T")


def build_reply(app: App, turn: Turn, *, cite: bool) -> Reply:
    """What an app says to a turn.

    Raises:
        RequestRefused: Its script failed.
    """
    if app.answer is None:
        return default_reply(turn, cite=cite)
    if isinstance(app.answer, str):
        return Reply(app.answer)
    result = run_script(app.answer, turn, (str, Reply), "neither a text nor a Reply")
    return Reply(result) if isinstance(result, str) else result


def build_reasoning(reply: Reply, turn: Turn) -> str:
    """What is thought before a reply; nothing while thinking is off."""
    if not turn.thinking:
        return ""
    return default_reasoning(turn) if reply.reasoning is None else reply.reasoning


def run_text_script(script: Callable[[Turn], str], turn: Turn) -> str:
    """What the function of a node says to a turn.

    Raises:
        RequestRefused: It failed.
    """
    return run_script(script, turn, (str,), "no text")


def run_script(
    script: Callable[[Turn], _T], turn: Turn, expected_types: tuple[type, ...], type_message: str
) -> _T:
    """Call a script, which is not ours: whatever it does must reach the client as a refusal.

    Raises:
        RequestRefused: It raised, or returned nothing of the kinds wanted.
    """
    try:
        result = script(turn)
    except Exception as exc:
        message = f"The scripted answer raised {exc!r}."
        raise RequestRefused(ErrorReply.of("AppProcessFailed", message=message)) from exc
    if not isinstance(result, expected_types):
        message = f"The scripted answer returned {result!r}: {type_message}."
        raise RequestRefused(ErrorReply.of("AppProcessFailed", message=message))
    return result
