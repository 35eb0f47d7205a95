"""Tests that the live checks of knowledge services observe each side of a switch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.live.harness import LiveHarness
from tests.live.knowledge import CHECKS
from tests.live.report import run_check

if TYPE_CHECKING:
    from langchain_bailian_app.emulator import BailianEmulator


@pytest.mark.parametrize(
    ("name", "switches", "observation", "verdict"),
    [
        ("kb-filter-keys", {}, "`tags` is accepted, `doc_id` is refused", "works either way"),
        (
            "kb-filter-keys",
            {"filter_keys": "all"},
            "`tags` is accepted, `doc_id` is accepted",
            "works either way",
        ),
        ("kb-error", {}, "HTTP 400, flat, `InvalidParameter`", "as assumed"),
        ("kb-error", {"error_status": 200}, "HTTP 200, flat, `InvalidParameter`", "as assumed"),
        ("kb-error", {"error_shape": "nested"}, "HTTP 400, nested, `INVALID_PARAMETER`", "as assumed"),
        ("kb-unpublished-code", {}, "`AgentApp.NotFound`, HTTP 500", "as assumed"),
        ("kb-unpublished-code", {"unpublished_code": "X"}, "`X`, HTTP 500", "**not as assumed**"),
        ("kb-rate", {}, "at least 12", "works either way"),
        ("kb-rate", {"requests_per_10_seconds": 10}, "10, then HTTP 429", "works either way"),
        ("retrieve-rerank", {}, "honored", "works either way"),
        ("retrieve-rerank", {"rerank": "ignored"}, "ignored", "works either way"),
        ("retrieve-rerank", {"rerank": "refused"}, "refused: `InvalidParameter`", "works either way"),
        ("chat-framing", {}, "ids, status comments; marks: <ref>[1]</ref>", "as assumed"),
        (
            "chat-framing",
            {"framing": "plain", "done": True, "citation_mark": "bracket"},
            "`[DONE]`; marks: [1]",
            "as assumed",
        ),
        (
            "chat-framing",
            {"framing": "plain", "citation_mark": "none"},
            "only data; marks: none",
            "as assumed",
        ),
        ("chat-no-stream", {}, "HTTP 400 `InvalidParameter`", "as assumed"),
        ("chat-no-stream", {"no_stream_status": 500}, "HTTP 500 `InvalidParameter`", "as assumed"),
    ],
)
def test_each_side_of_a_switch_is_observed(
    pool: BailianEmulator,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    switches: dict[str, Any],
    observation: str,
    verdict: str,
) -> None:
    monkeypatch.setattr("tests.live.knowledge._QUERY", "开放 票价 什么？")
    monkeypatch.setenv("DASHSCOPE_API_KEY", pool.api_key)
    monkeypatch.setenv("DASHSCOPE_BASE_URL", pool.base_url)
    for setting, value in {
        "SEARCH_SERVICE": "aid-search",
        "CHAT_SERVICE": "aid-chat",
        "KNOWLEDGE_BASE": "pool",
    }.items():
        monkeypatch.setenv(f"BAILIAN_LIVE_{setting}", value)
    for switch, value in switches.items():
        setattr(pool.knowledge_switches, switch, value)
    (check,) = (check for check in CHECKS if check.name == name)

    assert run_check(check, LiveHarness())[1:] == (observation, verdict)
