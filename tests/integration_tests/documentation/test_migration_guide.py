"""Tests of the statements in docs/migration.md about `dashscope.Application.call`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dashscope
import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_bailian_app.emulator import App, BailianEmulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_bailian_app import BailianAppChatModel

PAGE = Path(__file__).parents[3] / "docs" / "migration.md"
CALL: Any = dashscope.Application.call
CONVERSATION = [HumanMessage("一"), AIMessage("二"), HumanMessage("三")]

SAME_ARGUMENTS: list[dict[str, Any]] = [
    {"session_id": "0123"},
    {"has_thoughts": True},
    {"memory_id": "memory"},
    {"image_list": ["https://example.com/a.png"]},
    {"file_list": ["https://example.com/a.pdf"]},
    {"biz_params": {"user_prompt_params": {"city": "杭州"}}},
    {"rag_options": {"pipeline_ids": ["kb"], "tags": ["红"]}},
    {"temperature": 0.5, "top_p": 0.5, "top_k": 9, "seed": 1},
    {"doc_tag_codes": ["红"], "doc_reference_type": "indexed"},
    {"enable_thinking": True, "has_thoughts": True},
    {"enable_web_search": True, "enable_system_time": False, "dialog_round": 3},
    {"flow_stream_mode": "message_format", "mcp_servers": ["maps"]},
    {"workspace": "ws1"},
]
RENAMED_ARGUMENTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"model_id": "qwen-max"}, {"app_model": "qwen-max"}),
    ({"brand_new": 1}, {"extra_parameters": {"brand_new": 1}}),
]
OTHER_ARGUMENTS = {"app_id", "api_key", "prompt", "stream", "incremental_output", "messages", "history"}


def _workspace_header(request: Any) -> Any:
    return request.headers.get("x-dashscope-workspace")


@pytest.fixture
def send_old_and_new(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> Iterator[Callable[..., tuple[Any, Any]]]:
    """Return a function that calls both APIs and returns the body and workspace header each sent."""
    app_id = bailian.add_app(App("migration", answer=lambda _: "好"))

    def send(old: dict[str, Any], new: Any, fields: dict[str, Any]) -> tuple[Any, Any]:
        bailian.reset()
        connection = {"api_key": bailian.api_key, "base_address": bailian.base_url}
        list(CALL(app_id=app_id, stream=True, incremental_output=True, **connection, **old))
        make_model(app_id, **fields).invoke(new)
        before, after = (r for r in bailian.requests if r.path.endswith("/completion"))
        old_body = {name: value for name, value in before.body.items() if name != "model"}
        return (old_body, _workspace_header(before)), (after.body, _workspace_header(after))

    yield send
    del bailian.apps[app_id]
    dashscope.close_shared_sync_session()


@pytest.mark.filterwarnings("ignore")  # about undocumented fields
@pytest.mark.parametrize(
    ("old", "new"), [*((same, same) for same in SAME_ARGUMENTS), *RENAMED_ARGUMENTS]
)
def test_an_argument_and_its_field_send_the_same(
    send_old_and_new: Callable[..., tuple[Any, Any]], old: dict[str, Any], new: dict[str, Any]
) -> None:
    before, after = send_old_and_new({"prompt": "你好", **old}, "你好", new)

    assert after == before


@pytest.mark.parametrize("kind", ["messages", "history"])
def test_both_send_a_conversation_in_the_same_way(
    send_old_and_new: Callable[..., tuple[Any, Any]], kind: str
) -> None:
    turns = [{"role": "user", "content": "一"}, {"role": "assistant", "content": "二"}]
    history = turns if kind == "messages" else [{"user": "一", "bot": "二"}]
    before, after = send_old_and_new(
        {"prompt": "三", kind: history}, CONVERSATION, {"legacy_history": kind == "history"}
    )

    assert after == before


def test_a_session_takes_precedence_over_messages(
    send_old_and_new: Callable[..., tuple[Any, Any]],
) -> None:
    turns = [{"role": "user", "content": "一"}, {"role": "assistant", "content": "二"}]
    with pytest.warns(UserWarning, match=r"^2 messages of this call are not sent"):
        before, after = send_old_and_new(
            {"prompt": "三", "messages": turns, "session_id": "0"}, CONVERSATION, {"session_id": "0"}
        )

    assert before[0]["input"].keys() == {"messages", "session_id"}
    assert after[0]["input"] == {"prompt": "三", "session_id": "0"}


def test_no_argument_is_forgotten() -> None:
    arguments = set(inspect.signature(CALL).parameters) - {"kwargs"}
    tested = {name for old in SAME_ARGUMENTS for name in old} | {
        name for old, _ in RENAMED_ARGUMENTS for name in old
    }
    table = PAGE.read_text("utf-8").partition("## From `ChatTongyi`")[0]
    documented = {
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"\w+", row)
    }

    assert arguments - OTHER_ARGUMENTS <= tested
    assert arguments <= documented
