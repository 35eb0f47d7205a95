"""List of all live checks, and the report of their results."""

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
from tests.live import files, hosts, knowledge, memory, runs, sessions, wire, workflows
from tests.live.harness import CheckSkipped, LiveCheck, LiveHarness, Outcome

LIVE_CHECKS = [
    *sessions.CHECKS,
    *wire.CHECKS,
    *hosts.CHECKS,
    *files.CHECKS,
    *memory.CHECKS,
    *runs.CHECKS,
    *workflows.CHECKS,
    *knowledge.CHECKS,
]
_VERDICTS = {True: "as assumed", False: "**not as assumed**", None: "works either way"}
_SKIPPED, _FAILED = "not run here", "ended with an error"


class LiveCheckResult(NamedTuple):
    """The result of a check."""

    check: LiveCheck
    observation: str
    verdict: str

    @property
    def was_run(self) -> bool:
        """True if the check ran to completion."""
        return self.verdict not in {_SKIPPED, _FAILED}


def run_check(check: LiveCheck, harness: LiveHarness) -> LiveCheckResult:
    """Run a check; a skip or an expected error is also returned as its result."""
    try:
        outcome: Outcome = check.run(harness)
    except CheckSkipped as reason:
        return LiveCheckResult(check, str(reason), _SKIPPED)
    except (BailianError, httpx.HTTPError, ValueError) as error:
        return LiveCheckResult(check, f"{type(error).__name__}: {error}", _FAILED)
    return LiveCheckResult(check, outcome.observation, _VERDICTS[outcome.matches_assumption])


def render_report(results: list[LiveCheckResult], harness: LiveHarness) -> str:
    """Return the report as Markdown, without keys or ids, so that it can be posted in an issue."""
    host = urlsplit(resolve_connection(ConnectionFields()).base_url).hostname
    today = dt.datetime.now(dt.UTC).date().isoformat()
    head = (
        f"### Live checks of {host}, {today}\n\nlangchain-bailian-app {__version__}, dashscope "
        f"{dashscope_version}; about {harness.call_count} calls\n\n| question | observation | what "
        "this package assumes or does | |\n|---|---|---|---|\n"
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
