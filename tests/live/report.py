"""All questions, and the report of their answers."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
from dashscope.version import __version__ as dashscope_version

from langchain_bailian_app import __version__
from langchain_bailian_app._settings.connection import ConnectionFields
from langchain_bailian_app._transport.credentials import resolve
from langchain_bailian_app.errors import BailianError
from tests.live import sessions, wire, workflows
from tests.live.harness import CannotAsk, Lab, Outcome, Question

QUESTIONS = [*sessions.QUESTIONS, *wire.QUESTIONS, *workflows.QUESTIONS]
_AS_ASSUMED = {True: "as assumed", False: "**not as assumed**", None: "works either way"}
_NOT_ASKED, _BROKEN = "cannot be asked here", "the question broke off"


class Answered(NamedTuple):
    """What became of a question."""

    question: Question
    told: str
    verdict: str

    @property
    def was_asked(self) -> bool:
        """Whether there is an answer."""
        return self.verdict not in {_NOT_ASKED, _BROKEN}


def answered(question: Question, lab: Lab) -> Answered:
    """Ask a question; whatever comes of it is an answer, or the reason why there is none."""
    try:
        outcome: Outcome = question.ask(lab)
    except CannotAsk as reason:
        return Answered(question, str(reason), _NOT_ASKED)
    except (BailianError, httpx.HTTPError, ValueError) as problem:
        return Answered(question, f"{type(problem).__name__}: {problem}", _BROKEN)
    return Answered(question, outcome.told, _AS_ASSUMED[outcome.as_assumed])


def report(answers: list[Answered], lab: Lab) -> str:
    """Return the report as Markdown, without keys and ids, to be pasted into an issue."""
    host = urlsplit(resolve(ConnectionFields()).base_url).hostname
    today = dt.datetime.now(dt.UTC).date().isoformat()
    head = (
        f"### Answers of {host}, {today}\n\nlangchain-bailian-app {__version__}, dashscope "
        f"{dashscope_version}; about {lab.calls} calls\n\n| question | answer | what this package does "
        "about it | |\n|---|---|---|---|\n"
    )
    rows = [
        " | ".join(["", *map(_cell, (q.text, told, q.assumed, verdict)), ""]).strip()
        for q, told, verdict in answers
    ]
    return head + "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
