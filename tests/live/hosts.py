"""Live checks of the hosts of a region: which of them serve applications, and for how long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx

from langchain_bailian_app._settings.base_url import find_request_timeout
from langchain_bailian_app._settings.connection import ConnectionFields
from langchain_bailian_app._transport.credentials import resolve_connection
from tests.live.harness import CheckRegistry, CheckSkipped, LiveHarness, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECKS = CheckRegistry()
_LATENESS = 60.0  # seconds that a gateway may take longer than its time limit


def find_gateways() -> dict[str, str]:
    """Return the base URL of each gateway of the region that the environment selects.

    Raises:
        CheckSkipped: The environment contains a base URL, or a region that has no gateway.
    """
    try:
        gateways = {
            "trial": _find_workspace_host("trial"),
            "shared": resolve_connection(ConnectionFields()).base_url,
            "workspace": _find_workspace_host(None),
        }
    except ValueError as error:
        raise CheckSkipped(str(error)) from None
    if gateways["trial"] == gateways["shared"]:
        message = "remove the base URL from the environment and from dashscope's configuration"
        raise CheckSkipped(message)
    if gateways["shared"] == gateways["workspace"]:
        del gateways["shared"]  # the region has no shared host
    return gateways


def _find_workspace_host(workspace: str | None) -> str:
    fields = ConnectionFields(workspace=workspace)
    return resolve_connection(fields, requires_workspace_host=True).base_url


@CHECKS.register(
    "Which gateways of this region serve the application?",
    assumption="the shared one, if there is one; the default for a workspace depends on this",
)
def gateways(harness: LiveHarness) -> Outcome:
    return compare_gateways(harness, find_gateways())


def compare_gateways(harness: LiveHarness, base_urls: Mapping[str, str]) -> Outcome:
    """Return how each gateway answers a question."""
    observations = []
    is_served = {}
    for name, base_url in base_urls.items():
        try:
            response = harness.post({"prompt": "你好"}, base_url=base_url)
        except httpx.HTTPError as error:
            observations.append(f"{name}: {type(error).__name__}")
            continue
        seconds = response.headers.get("x-dashscope-timeout")
        is_served[name] = bool(response.text)
        observations.append(
            f"{name}: HTTP {response.status} {response.error_code}".rstrip()
            + (f", x-dashscope-timeout {seconds}" if seconds else "")
        )
    is_expected = is_served.get("shared", False) if "shared" in base_urls else None
    return Outcome("; ".join(observations), matches_assumption=is_expected)


@CHECKS.register(
    "Does the gateway end a request after the time that is documented for models?",
    assumption="yes, after 600 s, or 3,600 s on the host of a workspace; a stream perhaps not",
)
def time_limit(harness: LiveHarness) -> Outcome:
    limit = find_request_timeout(resolve_connection(ConnectionFields()).base_url)
    if limit is None:
        message = "no time limit is documented for this host"
        raise CheckSkipped(message)
    description = f"the id of an application whose answer takes more than {limit} s"
    app_id = harness.require_setting("SLOW_APP_ID", description)
    return measure_time_limit(harness, app_id, limit)


def measure_time_limit(harness: LiveHarness, app_id: str, limit: float) -> Outcome:
    """Return when a plain request and a stream end.

    Raises:
        CheckSkipped: The application answers too soon.
    """
    observations = []
    is_limited = []
    for name, stream in (("a plain POST", False), ("a stream", True)):
        started_at = time.monotonic()
        try:
            response = harness.post(
                {"prompt": "你好"}, app_id=app_id, stream=stream, timeout=limit + _LATENESS
            )
            ending = f"HTTP {response.status} {response.error_code}".rstrip()
            is_complete = "stop" in response.output_values("finish_reason")
        except httpx.HTTPError as error:
            ending, is_complete = type(error).__name__, False
        seconds = time.monotonic() - started_at
        if seconds < limit and is_complete:
            message = f"the application answered after {seconds:.0f} s, which is too soon"
            raise CheckSkipped(message)
        observations.append(f"{name} ended after {seconds:.0f} s: {ending}")
        is_limited.append(not is_complete and limit <= seconds < limit + _LATENESS)
    return Outcome("; ".join(observations), matches_assumption=is_limited[0])
