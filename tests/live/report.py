"""All questions, and the report of their answers."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
from dashscope.version import __version__ as dashscope_version

from langchain_bailian_app import __version__
from langchain_bailian_app._settings.connection import ConnectionFields
from langchain_bailian_app._transport.credentials import resolve_connection
from langchain_bailian_app.errors import BailianError
from tests.live import sessions, wire, workflows
from tests.live.harness import CheckSkipped, LiveCheck, LiveHarness, Outcome

LIVE_CHECKS = [*sessions.CHECKS, *wire.CHECKS, *workflows.CHECKS]
_VERDICTS = {True: "as assumed", False: "**not as assumed**", None: "works either way"}
_SKIPPED, _FAILED = "cannot be asked here", "the question broke off"


class LiveCheckResult(NamedTuple):
    """What became of a question."""

    check: LiveCheck
    observation: str
    verdict: str

    @property
    def was_run(self) -> bool:
        """Whether there is an answer."""
        return self.verdict not in {_SKIPPED, _FAILED}


def run_check(check: LiveCheck, harness: LiveHarness) -> LiveCheckResult:
    """Ask a question; whatever comes of it is an answer, or the reason why there is none."""
    try:
        outcome: Outcome = check.run(harness)
    except CheckSkipped as reason:
        return LiveCheckResult(check, str(reason), _SKIPPED)
    except (BailianError, httpx.HTTPError, ValueError) as error:
        return LiveCheckResult(check, f"{type(error).__name__}: {error}", _FAILED)
    return LiveCheckResult(check, outcome.observation, _VERDICTS[outcome.matches_assumption])


def render_report(results: list[LiveCheckResult], harness: LiveHarness) -> str:
    """Return the report as Markdown, without keys and ids, to be pasted into an issue."""
    host = urlsplit(resolve_connection(ConnectionFields()).base_url).hostname
    today = dt.datetime.now(dt.UTC).date().isoformat()
    head = (
        f"### Answers of {host}, {today}\n\nlangchain-bailian-app {__version__}, dashscope "
        f"{dashscope_version}; about {harness.call_count} calls\n\n| question | answer | what this "
        "package does about it | |\n|---|---|---|---|\n"
    )
    rows = [
        " | ".join(
            ["", *map(_escape_cell, (check.question, observation, check.assumption, verdict)), ""]
        ).strip()
        for check, observation, verdict in results
    ]
    return head + "\n".join(rows) + "\n"


def _escape_cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
