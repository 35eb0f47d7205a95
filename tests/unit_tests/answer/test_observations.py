"""Tests for the values in observations, including MCP results."""

import json
from typing import Any

import pytest

from langchain_bailian_app._answer.observations import is_error_result, parse_observation

TEXT: dict[str, Any] = {"type": "text", "text": "没有这个文件"}
IMAGE: dict[str, Any] = {"type": "image", "data": "aGk=", "mimeType": "image/png"}


@pytest.mark.parametrize(
    ("result", "value"),
    [
        pytest.param({"content": [TEXT]}, "没有这个文件", id="text"),
        pytest.param({"content": [TEXT], "isError": True}, "没有这个文件", id="an error"),
        pytest.param(
            {"content": [{"type": "text", "text": '{"n": [1]}'}]}, {"n": [1]}, id="JSON in the text"
        ),
        pytest.param({"content": [TEXT, IMAGE]}, ["没有这个文件", IMAGE], id="several parts"),
        pytest.param({"content": [], "structuredContent": {"n": 1}}, {"n": 1}, id="no parts"),
        pytest.param({"content": [{"type": "text", "text": None}]}, {"type": "text", "text": None}),
        pytest.param({"content": "茶"}, {"content": "茶"}, id="no MCP result"),
        pytest.param({"content": ["茶"]}, {"content": ["茶"]}, id="a list of something else"),
        pytest.param([{"content": "茶"}], [{"content": "茶"}], id="hits"),
        pytest.param("茶", "茶", id="no JSON"),
        pytest.param(None, None, id="nothing"),
    ],
)
def test_the_parts_of_an_mcp_result_are_parsed(result: Any, value: Any) -> None:
    assert parse_observation(result) == value
    if isinstance(result, dict | list):
        assert parse_observation(json.dumps(result)) == value


@pytest.mark.parametrize(
    ("observation", "is_error"),
    [
        ('{"content":[],"isError":true}', True),
        ({"content": [], "isError": True}, True),
        ({"isError": "true"}, True),
        ('{"content":[],"isError":false}', False),
        ('{"content":[]}', False),
        ("isError: true", False),
        ([{"isError": True}], False),
        (None, False),
    ],
)
def test_an_mcp_result_says_whether_it_is_an_error(observation: Any, is_error: bool) -> None:
    assert is_error_result(observation) == is_error
