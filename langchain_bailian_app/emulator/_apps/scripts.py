"""Answers and reasoning of an app, scripted or default. Errors in a script become error replies."""

from collections.abc import Callable
from typing import TypeVar

from langchain_bailian_app.emulator._apps.app import App
from langchain_bailian_app.emulator._apps.default_answers import default_reasoning, default_reply
from langchain_bailian_app.emulator._apps.turn import Reply, Turn
from langchain_bailian_app.emulator._http.errors import ErrorReply, RequestRefused

_T = TypeVar("_T")


def build_reply(app: App, turn: Turn, *, cite: bool) -> Reply:
    """Return the reply of an app to a turn.

    Raises:
        RequestRefused: The script failed.
    """
    if app.answer is None:
        return default_reply(turn, cite=cite)
    if isinstance(app.answer, str):
        return Reply(app.answer)
    result = run_script(app.answer, turn, (str, Reply), "expected a str or a Reply")
    return Reply(result) if isinstance(result, str) else result


def build_reasoning(reply: Reply, turn: Turn) -> str:
    """Return the reasoning before a reply, or an empty string if thinking is off."""
    if not turn.thinking:
        return ""
    return default_reasoning(turn) if reply.reasoning is None else reply.reasoning


def run_text_script(script: Callable[[Turn], str], turn: Turn) -> str:
    """Call the function of a node and return its text.

    Raises:
        RequestRefused: The function failed.
    """
    return run_script(script, turn, (str,), "expected a str")


def run_script(
    script: Callable[[Turn], _T], turn: Turn, expected_types: tuple[type, ...], type_message: str
) -> _T:
    """Call a user's script, and turn any failure into an error reply.

    Raises:
        RequestRefused: The script raised an exception, or returned a value of another type.
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
