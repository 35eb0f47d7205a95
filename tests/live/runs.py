"""Live checks of background runs."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from langchain_bailian_app.runs._state import parse_failure, parse_output
from tests.live.harness import CheckRegistry, CheckSkipped, LiveHarness, Outcome, RawResponse
from tests.live.hosts import find_gateways

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECKS = CheckRegistry()
_ENDED = {"completed", "failed", "cancelled", "canceled"}
_MAX_QUERIES = 300
_QUERIES_IN_A_BURST = 40
_HTTP_OK = 200


@CHECKS.register(
    "Which statuses does a background run have?",
    assumption="`queued`, then `running` or `in_progress`, then `completed`",
)
def run_statuses(harness: LiveHarness) -> Outcome:
    states = _run(harness)
    words = [word for word, _ in itertools.groupby(str(state.get("status")) for state in states)]
    known = {"queued", "running", "in_progress", "completed"}
    return Outcome(", ".join(words), matches_assumption=known.issuperset(words))


@CHECKS.register(
    "Where are the details of a run that failed?",
    assumption="in `output`, `error` or the reply itself, with a code and a message",
)
def run_failure(harness: LiveHarness) -> Outcome:
    app_id = harness.require_setting("FAILING_APP_ID", "the id of an application whose runs fail")
    last = _run(harness, app_id=app_id)[-1]
    if last.get("status") != "failed":
        message = f"the run ended with the status {last.get('status')!r}"
        raise CheckSkipped(message)
    details = parse_failure(last)
    names = [name for name in ("output", "error", "code", "message") if last.get(name)]
    found = "found" if details.code and details.message else "not found"
    return Outcome(
        f"fields: {', '.join(names) or 'none'}; code and message are {found}",
        matches_assumption=found == "found",
    )


@CHECKS.register(
    "What is the reply to the cancellation of a run that has ended?",
    assumption="the status `failed`, or an error; this package then queries the real status",
)
def run_cancel_ended(harness: LiveHarness) -> Outcome:
    run_id = str(_run(harness)[-1]["id"])
    reply = harness.send_to_runs("POST", f"/{run_id}/cancel")
    after = harness.send_to_runs("GET", f"/{run_id}").frames[0].get("status")
    status = reply.frames[0].get("status")
    shown = f"status `{status}`" if reply.status == _HTTP_OK else f"`{reply.error_code}`"
    return Outcome(
        f"HTTP {reply.status}, {shown}; then `{after}`",
        matches_assumption=after == "completed" and status != "cancelled",
    )


@CHECKS.register(
    "What is the reply to the cancellation of a run that runs?", assumption="the status `cancelled`"
)
def run_cancel_running(harness: LiveHarness) -> Outcome:
    app_id = harness.require_setting("SLOW_APP_ID", "the id of an application that answers slowly")
    run_id = _start(harness, app_id=app_id)["id"]
    reply = harness.send_to_runs("POST", f"/{run_id}/cancel", app_id=app_id)
    word = str(reply.frames[0].get("status") or reply.error_code)
    return Outcome(f"HTTP {reply.status}, `{word}`", matches_assumption=word == "cancelled")


@CHECKS.register(
    "Which error has an unknown run?",
    assumption="404 or 400: the run counts as ended, and its result is an error",
)
def run_unknown(harness: LiveHarness) -> Outcome:
    reply = harness.send_to_runs("GET", "/00000000-0000-4000-8000-000000000000")
    return Outcome(
        f"HTTP {reply.status} `{reply.error_code}`", matches_assumption=reply.status in (400, 404)
    )


@CHECKS.register(
    "In which form is the reasoning of a run?", assumption="an item with a `summary` or `content`"
)
def run_reasoning(harness: LiveHarness) -> Outcome:
    app_id = harness.require_setting("THINKING_APP_ID", "the id of an application that thinks")
    last = _run(harness, app_id=app_id)[-1]
    items = [item for item in last.get("output") or () if item.get("type") == "reasoning"]
    if not items:
        return Outcome("there is none")
    names = [name for name in ("summary", "content") if items[0].get(name)]
    return Outcome(
        " and ".join(names) or "another", matches_assumption=bool(parse_output(last).reasoning)
    )


@CHECKS.register(
    "Is a finished run still there after days?",
    assumption="not documented; a run that is gone raises an error",
)
def run_retention(harness: LiveHarness) -> Outcome:
    run_id = harness.require_setting("RUN", "the id of a run that finished days ago")
    reply = harness.send_to_runs("GET", f"/{run_id}")
    if reply.status != _HTTP_OK:
        return Outcome(f"it is gone: HTTP {reply.status} `{reply.error_code}`")
    state = reply.frames[0]
    return Outcome(
        f"`{state.get('status')}`, age {(time.time() - state['created_at']) / 3600:.0f} hours"
    )


@CHECKS.register(
    "How many queries per second are accepted?",
    assumption="at least 20; this package sends at most 20 by default",
)
def run_query_rate(harness: LiveHarness) -> Outcome:
    harness.require_setting("EXPENSIVE", "1, to send many requests")
    run_id = _run(harness)[-1]["id"]
    started_at = time.monotonic()
    statuses = Counter(
        harness.send_to_runs("GET", f"/{run_id}").status for _ in range(_QUERIES_IN_A_BURST)
    )
    rate = _QUERIES_IN_A_BURST / (time.monotonic() - started_at)
    counts = ", ".join(f"{count} with HTTP {status}" for status, count in sorted(statuses.items()))
    return Outcome(
        f"at {rate:.0f} per second: {counts}", matches_assumption=set(statuses) == {_HTTP_OK}
    )


@CHECKS.register(
    "Which gateways have the route of background runs?",
    assumption="the shared one; that of the workspace is not documented",
)
def run_gateways(harness: LiveHarness) -> Outcome:
    return compare_run_gateways(harness, find_gateways())


def compare_run_gateways(harness: LiveHarness, base_urls: Mapping[str, str]) -> Outcome:
    """Return the reply of each gateway to a request that starts a run."""
    replies = {
        name: harness.send_to_runs("POST", body=_make_body(), base_url=base_url)
        for name, base_url in base_urls.items()
    }
    observation = "; ".join(
        f"{name}: HTTP {reply.status} {reply.error_code}".rstrip() for name, reply in replies.items()
    )
    is_expected = replies["shared"].status == _HTTP_OK if "shared" in replies else None
    return Outcome(observation, matches_assumption=is_expected)


def _make_body() -> dict[str, Any]:
    return {"input": "你好", "background": True}


def _start(harness: LiveHarness, *, app_id: str | None = None) -> dict[str, Any]:
    return _get_state(harness.send_to_runs("POST", body=_make_body(), app_id=app_id))


def _run(harness: LiveHarness, *, app_id: str | None = None) -> list[dict[str, Any]]:
    """Start a run and return all of its states, until it has ended."""
    states = [_start(harness, app_id=app_id)]
    for _ in range(_MAX_QUERIES):
        if states[-1].get("status") in _ENDED:
            break
        harness.pause()
        reply = harness.send_to_runs("GET", f"/{states[0]['id']}", app_id=app_id)
        states.append(_get_state(reply))
    return states


def _get_state(reply: RawResponse) -> dict[str, Any]:
    if reply.status != _HTTP_OK:
        message = f"refused: HTTP {reply.status} `{reply.error_code}`"
        raise CheckSkipped(message)
    return reply.frames[0]
