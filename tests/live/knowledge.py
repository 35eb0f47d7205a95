"""Live checks of knowledge services: search, the index route and chat."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.live.harness import CheckRegistry, LiveHarness, Outcome, RawResponse

CHECKS = CheckRegistry()
_SEARCH_PATH = "indices/knowledge/search"
_QUERY = "什么？"
_MAX_CALLS_FOR_RATE = 12


@CHECKS.register(
    "Which keys may filters of documents have in a search service?",
    assumption="any; the service decides",
)
def kb_filter_keys(harness: LiveHarness) -> Outcome:
    knowledge_base = harness.require_setting("KNOWLEDGE_BASE", "a knowledge base of the search service")
    results = {}
    for name, group in {"tags": {"tags": ["甲"]}, "doc_id": {"doc_id": "file_none"}}.items():
        configs = [{"id": knowledge_base, "search_filters": [group]}]
        response = _search(harness, kb_search_configs=configs)
        results[name] = "accepted" if _is_success(response) else "refused"
    return Outcome(", ".join(f"`{name}` is {result}" for name, result in results.items()))


@CHECKS.register(
    "Which HTTP status and which shape does a rejected search have?",
    assumption="any status; flat or nested",
)
def kb_error(harness: LiveHarness) -> Outcome:
    response = harness.post_to_workspace(_SEARCH_PATH, {"query": _QUERY})
    (body,) = response.frames
    shape = "nested" if isinstance(body.get("error"), dict) else "flat"
    code = body.get("code") or body.get("error", {}).get("code")
    return Outcome(f"HTTP {response.status}, {shape}, `{code}`", matches_assumption=bool(code))


@CHECKS.register(
    "Which code does a service have that does not exist or is not published?",
    assumption="`AgentApp.NotFound`",
)
def kb_unpublished_code(harness: LiveHarness) -> Outcome:
    response = _search(harness, agent_id="aid-00000000")
    code = response.error_code
    return Outcome(f"`{code}`, HTTP {response.status}", matches_assumption=code == "AgentApp.NotFound")


@CHECKS.register(
    "How many searches are allowed in a row?",
    assumption="10 in 10 seconds, or 25 per second; the documents disagree",
)
def kb_rate(harness: LiveHarness) -> Outcome:
    for count in range(_MAX_CALLS_FOR_RATE):
        if _search(harness).status == 429:
            return Outcome(f"{count}, then HTTP 429")
    return Outcome(f"at least {_MAX_CALLS_FOR_RATE}")


@CHECKS.register(
    "What does the index route do with reranking?", assumption="it is honored, ignored or refused"
)
def retrieve_rerank(harness: LiveHarness) -> Outcome:
    knowledge_base = harness.require_setting("KNOWLEDGE_BASE", "the id of a knowledge base")
    counts = []
    for fields in ({}, {"rerank_top_n": 1, "rerank": [{"model_name": "qwen3-rerank"}]}):
        body = {"index_id": knowledge_base, "query": _QUERY} | fields
        response = harness.post_to_workspace("indices/rag/index/retrieve", body)
        if not _is_success(response):
            return Outcome(f"refused: `{response.error_code}`")
        counts.append(len(response.frames[0]["data"].get("nodes") or ()))
    if counts[0] <= 1:
        return Outcome("not enough hits to tell")
    return Outcome("honored" if counts[1] == 1 else "ignored")


@CHECKS.register(
    "How does a chat service frame its stream, and mark its citations?",
    assumption="with or without ids and `[DONE]`; `<ref>[1]</ref>` or `[1]`",
)
def chat_framing(harness: LiveHarness) -> Outcome:
    response = _chat(harness, {"stream": True})
    lines = response.content.decode("utf-8", "replace").splitlines()
    events = any(line.startswith("id:") for line in lines)
    status = any(line.startswith(":HTTP_STATUS") for line in lines)
    done = any("[DONE]" in line for line in lines)
    text = "".join(_texts(lines))
    marks = sorted(
        {re.sub(r"[0-9]+", "1", mark) for mark in re.findall(r"<ref>\[[0-9]+\]</ref>|\[[0-9]+\]", text)}
    )
    names = {"ids": events, "status comments": status, "`[DONE]`": done}
    framing = ", ".join(name for name, is_there in names.items() if is_there) or "only data"
    return Outcome(f"{framing}; marks: {', '.join(marks) or 'none'}", matches_assumption=bool(text))


@CHECKS.register(
    "What does a chat service reply to a request without `stream`?",
    assumption="an error; this package always asks for a stream",
)
def chat_no_stream(harness: LiveHarness) -> Outcome:
    response = _chat(harness, {})
    return Outcome(
        f"HTTP {response.status} `{response.error_code}`", matches_assumption=not _is_success(response)
    )


def _search(harness: LiveHarness, **fields: Any) -> RawResponse:
    agent_id = fields.pop("agent_id", None)
    agent_id = agent_id or harness.require_setting("SEARCH_SERVICE", "the id of a search service")
    return harness.post_to_workspace(_SEARCH_PATH, {"agent_id": agent_id, "query": _QUERY} | fields)


def _chat(harness: LiveHarness, fields: dict[str, Any]) -> RawResponse:
    agent_id = harness.require_setting("CHAT_SERVICE", "the id of a chat service")
    body = {
        "input": {"messages": [{"role": "user", "content": _QUERY}]},
        "parameters": {"agent_options": {"agent_id": agent_id}},
    }
    return harness.post_to_workspace("apps/knowledge/chat", body | fields, api_version="v2")


def _texts(lines: list[str]) -> list[str]:
    frames = [json.loads(line[5:]) for line in lines if line.startswith("data:") and "{" in line]
    messages = [
        choice["message"] for frame in frames for choice in frame.get("output", {}).get("choices", ())
    ]
    return [m["content"] for m in messages if m.get("extra", {}).get("step") == "generating"]


def _is_success(response: RawResponse) -> bool:
    body = response.frames[0] if response.content.lstrip().startswith(b"{") else {}
    return response.status == 200 and body.get("success") is not False
