"""Tests of `BailianAppTool` as a tool of AutoGen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from autogen_core import CancellationToken
from autogen_ext.tools.langchain import LangChainToolAdapter

from langchain_bailian_app import BailianAppTool
from langchain_bailian_app.emulator import App

if TYPE_CHECKING:
    from langchain_bailian_app.emulator import BailianEmulator

QUESTION = "什么是滞报金？"
NAMES = {"name": "customs", "description": "Explains terms of the customs."}


@pytest.fixture
def autogen_tool(bailian: BailianEmulator) -> Any:
    app = App("customs", system="${city}", answer=lambda turn: f"{turn.prompt}{turn.system}：是罚款。")
    tool = BailianAppTool(
        app_id=bailian.add_app(app),
        base_url=bailian.base_url,
        api_key=bailian.api_key,
        variables={"city": (str, "城市")},
        response_format="content",
        **NAMES,
    )
    return LangChainToolAdapter(tool)


async def test_autogen_calls_a_tool(autogen_tool: Any) -> None:
    args = {"query": QUESTION, "city": "杭州"}
    result = await autogen_tool.run_json(args, CancellationToken())

    assert autogen_tool.return_value_as_string(result) == f"{QUESTION}杭州：是罚款。"


def test_autogen_describes_the_arguments_of_a_tool(autogen_tool: Any) -> None:
    schema = autogen_tool.schema

    assert schema["name"] == "customs"
    assert schema["parameters"]["required"] == ["query", "city"]
    assert schema["parameters"]["properties"]["city"]["description"] == "城市"


async def test_autogen_receives_the_message_of_a_tool_with_an_artifact(
    bailian: BailianEmulator,
) -> None:
    connection = {"base_url": bailian.base_url, "api_key": bailian.api_key}
    tool = BailianAppTool(app_id=bailian.app_id, **connection, **NAMES)
    content, message = await LangChainToolAdapter(tool).run_json(
        {"query": QUESTION}, CancellationToken()
    )

    assert content == message.text
    assert message.usage_metadata["total_tokens"] > 0
