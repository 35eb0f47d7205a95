"""Live checks of memory libraries, 长期记忆（新）.

Each check uses a new user, whose memories it deletes at the end. A call costs what an add or a search
costs.
"""

from __future__ import annotations

import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from langchain_bailian_app._settings.base_url import is_loopback
from langchain_bailian_app._settings.connection import ConnectionFields
from langchain_bailian_app._transport.credentials import resolve_connection
from tests.live.harness import CheckRegistry, CheckSkipped, LiveHarness, Outcome, RawResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKS = CheckRegistry()
_FACT = "用户喜欢在周末爬山。"
_QUESTION = "用户周末喜欢做什么？"
_STATEMENT = [{"role": "user", "content": "我喜欢爬山。"}, {"role": "assistant", "content": "好的。"}]
_TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "book", "arguments": "{}"}}
_TOOL_MESSAGES = [
    *_STATEMENT,
    {"role": "assistant", "content": "", "tool_calls": [_TOOL_CALL]},
    {"role": "tool", "content": "好", "tool_call_id": "c1"},
]
_UNKNOWN_ID = "0" * 32
_PAGE_SIZES = (100, 101, 1000)
_FINAL_STATUSES = {"SUCCEEDED", "SUCCESS", "FAILED", "UNRECORDED"}
_MAX_QUERIES = 60
_MAX_SECONDS = 120  # the default of `wait_until_done`
_HTTP_OK, _FORBIDDEN, _NOT_FOUND = 200, 403, 404


@CHECKS.register("Is `POST /search` another path of a search?", assumption="it is not used")
def memory_legacy_search(harness: LiveHarness) -> Outcome:
    with _new_user(harness) as user_id:
        _add_fact(harness, user_id)
        body = {"user_id": user_id, "query": _QUESTION, "max_results": 3}
        return Outcome(_describe(_send(harness, "POST", "search", body)))


@CHECKS.register(
    "Does the synchronous `add` accept tool messages and `project_ids`?",
    assumption="both are sent, and a refusal is raised",
)
def memory_sync_fields(harness: LiveHarness) -> Outcome:
    with _new_user(harness) as user_id:
        rule = _get_node(harness, _add_fact(harness, user_id))["project_id"]
        bodies = {
            "tool messages": {"messages": _TOOL_MESSAGES},
            "`project_ids`": {"messages": _STATEMENT, "project_ids": [rule]},
        }
        observations = [
            f"{name}: {_describe(_send(harness, 'POST', 'add', body | {'user_id': user_id}))}"
            for name, body in bodies.items()
        ]
    return Outcome("; ".join(observations))


@CHECKS.register(
    "How long does an extraction take, and is the new node found at once?",
    assumption="at most 120 seconds; it may be found later",
)
def memory_extract_delay_and_index_lag(harness: LiveHarness) -> Outcome:
    with _new_user(harness) as user_id:
        started_at = time.monotonic()
        body = {"user_id": user_id, "messages": _STATEMENT}
        event_id = _require(_send(harness, "POST", "add-async", body))["event_id"]
        statuses: set[str] = set()
        for _ in range(_MAX_QUERIES):
            event = _require(_send(harness, "GET", f"events/{event_id}"))
            statuses = {entry["status"] for entry in event["events"]}
            if statuses <= _FINAL_STATUSES:
                break
            harness.pause()
        seconds = time.monotonic() - started_at
        observation = f"{', '.join(sorted(statuses))} after {seconds:.0f} s"
        if not statuses <= _FINAL_STATUSES or seconds > _MAX_SECONDS:
            return Outcome(observation, matches_assumption=False)
        for query in range(_MAX_QUERIES):
            if _search(harness, user_id, "用户喜欢什么？"):
                found = "found at once" if not query else f"found by search {query + 1}"
                return Outcome(f"{observation}; {found}", matches_assumption=True)
            harness.pause()
    return Outcome(f"{observation}; not found", matches_assumption=False)


@CHECKS.register(
    "Does a node of the default rule expire?", assumption="not documented; nothing relies on it"
)
def memory_expiry(harness: LiveHarness) -> Outcome:
    node_id = harness.require_setting(
        "MEMORY_NODE", "the id of a node of the default rule, added 180 days ago or more"
    )
    response = _send(harness, "GET", f"memory_nodes/{node_id}")
    if response.status != _HTTP_OK:
        return Outcome(f"it is gone: {_describe(response)}")
    node = response.frames[0]["memory_node"]
    days = (time.time() - node["created_at"]) / 86_400
    return Outcome(f"status `{node['status']}` after {days:.0f} days")


@CHECKS.register(
    "Which of `memory_types` and `memory_type` counts?", assumption="only `memory_types` is sent"
)
def memory_type_alias(harness: LiveHarness) -> Outcome:
    with _new_user(harness) as user_id:
        _add_fact(harness, user_id)
        both = {"memory_types": ["observation"], "memory_type": "skill"}
        found = _search(harness, user_id, _QUESTION, **both)
    return Outcome("`memory_types`" if found else "`memory_type`, or the node is not yet searched")


@CHECKS.register("What is the largest page?", assumption="100 is accepted")
def memory_page_max(harness: LiveHarness) -> Outcome:
    with _new_user(harness) as user_id:
        accepted = [
            size
            for size in _PAGE_SIZES
            if _send(
                harness, "GET", "memory_nodes", params={"user_id": user_id, "page_size": str(size)}
            ).status
            == _HTTP_OK
        ]
    observation = f"of {_PAGE_SIZES}, {accepted or 'none'} accepted"
    return Outcome(observation, matches_assumption=_PAGE_SIZES[0] in accepted)


@CHECKS.register(
    "How is an id that never existed answered?", assumption="with status 404, whatever the code"
)
def memory_node_404_code(harness: LiveHarness) -> Outcome:
    response = _send(harness, "GET", f"memory_nodes/{_UNKNOWN_ID}")
    return Outcome(_describe(response), matches_assumption=response.status == _NOT_FOUND)


@CHECKS.register(
    "Is a deleted node still read, listed and found?",
    assumption="it is read with the status `delete`, but neither listed nor found",
)
def memory_soft_delete(harness: LiveHarness) -> Outcome:
    with _new_user(harness) as user_id:
        node_id = _add_fact(harness, user_id)
        _require(_send(harness, "DELETE", f"memory_nodes/{node_id}"))
        response = _send(harness, "GET", f"memory_nodes/{node_id}")
        is_read = response.status == _HTTP_OK
        status = response.frames[0]["memory_node"].get("status") if is_read else None
        listed = _require(_send(harness, "GET", "memory_nodes", params={"user_id": user_id}))
        is_listed = bool(listed["memory_nodes"])
        is_found = bool(_search(harness, user_id, _QUESTION))
    observation = (
        f"{f'read with status `{status}`' if is_read else 'not read'}, "
        f"{'listed' if is_listed else 'not listed'}, {'found' if is_found else 'not found'}"
    )
    matches = status == "delete" and not is_listed and not is_found
    return Outcome(observation, matches_assumption=matches)


@CHECKS.register(
    "Does the header of the workspace matter on the shared host?", assumption="it is sent if it is set"
)
def memory_workspace_header(harness: LiveHarness) -> Outcome:
    if not resolve_connection(ConnectionFields()).workspace:
        message = "set DASHSCOPE_WORKSPACE"
        raise CheckSkipped(message)
    params = {"user_id": _make_user_id()}
    observations = []
    for name, is_sent in (("with it", True), ("without it", False)):
        response = _send(harness, "GET", "memory_nodes", params=params, has_workspace_header=is_sent)
        observations.append(f"{name}: {_describe(response)}")
    return Outcome("; ".join(observations))


def _make_user_id() -> str:
    return f"live-check-{uuid.uuid4().hex}"


@contextmanager
def _new_user(harness: LiveHarness) -> Iterator[str]:
    """Yield the id of a new user, and delete its memories at the end."""
    user_id = _make_user_id()
    try:
        yield user_id
    finally:
        _send(harness, "DELETE", f"entities/user/{user_id}")


def _add_fact(harness: LiveHarness, user_id: str) -> str:
    """Add a fact as it is; return the id of its node."""
    body = {"user_id": user_id, "custom_content": _FACT}
    (node,) = _require(_send(harness, "POST", "add", body))["memory_nodes"]
    return str(node["memory_node_id"])


def _get_node(harness: LiveHarness, node_id: str) -> dict[str, Any]:
    node: dict[str, Any] = _require(_send(harness, "GET", f"memory_nodes/{node_id}"))["memory_node"]
    return node


def _search(harness: LiveHarness, user_id: str, query: str, **options: Any) -> list[Any]:
    body = {"user_id": user_id, "messages": [{"role": "user", "content": query}], "min_score": 0}
    reply = _require(_send(harness, "POST", "memory_nodes/search", body | options))
    nodes: list[Any] = reply["memory_nodes"]
    return nodes


def _send(
    harness: LiveHarness,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    *,
    params: dict[str, str] | None = None,
    has_workspace_header: bool = True,
) -> RawResponse:
    """Send a request for memories; return the unprocessed response.

    Raises:
        CheckSkipped: Memory is not activated.
    """
    connection = resolve_connection(ConnectionFields())
    headers = {"Authorization": f"Bearer {connection.api_key()}"}
    if connection.workspace and has_workspace_header:
        headers["X-DashScope-WorkSpace"] = connection.workspace
    harness.call_count += 1
    url = f"{connection.base_url.removesuffix('/v1')}/v2/apps/memory/{path}"
    is_remote = not is_loopback(url)
    with httpx.Client(timeout=60, trust_env=is_remote, verify=is_remote) as client:
        reply = client.request(method, url, json=body, params=params, headers=headers)
    response = RawResponse(reply.status_code, dict(reply.headers), reply.content)
    if response.status == _FORBIDDEN:
        message = f"activate 长期记忆（新） for the workspace: {_describe(response)}"
        raise CheckSkipped(message)
    return response


def _require(response: RawResponse) -> dict[str, Any]:
    """Return the body of a successful response.

    Raises:
        CheckSkipped: The request was refused.
    """
    if response.status != _HTTP_OK:
        message = f"refused: {_describe(response)}"
        raise CheckSkipped(message)
    return response.frames[0]


def _describe(response: RawResponse) -> str:
    if response.status == _HTTP_OK:
        return f"HTTP {response.status}"
    has_body = response.content.lstrip().startswith(b"{")
    return f"HTTP {response.status} `{response.error_code if has_body else ''}`"
