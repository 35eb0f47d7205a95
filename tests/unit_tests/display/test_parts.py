"""Tests of the parts that are read from a message for display."""

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_bailian_app._answer.citations import MarkerMode
from langchain_bailian_app.chat_models._messages import message_from_answer
from langchain_bailian_app.display import AnswerView
from langchain_bailian_app.display._parts import GenericBlock, Reasoning, Step, Text, parse_message
from langchain_bailian_app.display._sources import Source
from tests.fixtures import parse_answer, read_recording
from tests.unit_tests.display.messages import (
    CALL,
    HIT,
    V1,
    make_message,
    message_with_references,
    tool_result,
)

CALL_STEP = Step("天气", [("城市", "杭州"), ("n", "2")])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([], []),
        (["茶"], [Text("茶", {})]),
        ([{"type": "reasoning", "reasoning": "想"}], [Reasoning("想")]),
        ([CALL], [CALL_STEP]),
        ([{**CALL, "type": "tool_call"}], [CALL_STEP]),
        ([{**CALL, "args": None}], [Step("天气", [])]),
        ([{"type": "tool_call_chunk", "args": '{"a'}], [Step("step", [("", '{"a')])]),
        ([tool_result(None)], [Step("Result", [], done=True)]),
        ([{"type": "image", "base64": "x"}], [GenericBlock("image", "")]),
        ([{"type": "file", "mime_type": "a/b"}], [GenericBlock("file · a/b", "")]),
        (
            [{"type": "non_standard", "value": {"x": 1}}],
            [GenericBlock("non_standard", '{\n  "x": 1\n}')],
        ),
        (
            [{"type": "mystery", "x": 1}],
            [GenericBlock("mystery", '{\n  "type": "mystery",\n  "x": 1\n}')],
        ),
        ([{"x": 1}], [GenericBlock("unknown", '{\n  "x": 1\n}')]),
        ([7, None], [GenericBlock("unknown", "7"), GenericBlock("unknown", "")]),
        ([{"type": "text"}], [Text("", {})]),
    ],
)
def test_each_kind_of_block_becomes_a_part(content: list[Any], expected: list[Any]) -> None:
    assert (
        parse_message(AIMessage.model_construct(content=content, response_metadata=V1)).parts
        == expected
    )


@pytest.mark.parametrize(
    ("output", "result"),
    [
        ("晴", "晴"),
        (["[1-2] 淡茶", "[1-3] 浓茶"], "[1-2] 淡茶\n[1-3] 浓茶"),
        ({"度": 21}, '{\n  "度": 21\n}'),
        ([HIT, "茶"], json.dumps([HIT, "茶"], ensure_ascii=False, indent=2)),
        ([], "[]"),
        (None, ""),
        ({1, 2}, "{1, 2}"),
        ("x" * 4000, "x" * 4000),
        ("x" * 4001, "x" * 4000 + "……（另有 1 个字符）"),
        ("x" * 5000, "x" * 4000 + "……（另有 1,000 个字符）"),
    ],
)
def test_a_result_is_shown_with_its_call(output: Any, result: str) -> None:
    parts = parse_message(make_message(CALL, "茶", tool_result(output))).parts

    assert parts == [Step("天气", CALL_STEP.args, done=True, result=result), Text("茶", {})]


def test_a_retrieval_is_a_list_of_hits() -> None:
    (step,) = parse_message(make_message(CALL, tool_result([HIT]))).parts

    hit = Source(4, "茶书", ["score 0.76"], "茶\n 叶", "", [])
    assert step == Step("天气", CALL_STEP.args, done=True, hits=[hit])


def test_results_are_matched_to_their_calls() -> None:
    other_call = {**CALL, "id": "2", "name": "茶"}
    late_result = tool_result("b", tool_call_id="2", id="1", status="error")
    parts = parse_message(
        make_message(CALL, other_call, late_result, tool_result("a"), tool_result("c"))
    ).parts

    assert [(part.name, part.result, part.failed) for part in parts if isinstance(part, Step)] == [
        ("天气", "a", False),
        ("茶", "b", True),
        ("Result", "c", False),
    ]


@pytest.mark.parametrize("markers", ["strip", "bracket", "keep"])
def test_written_markers_are_not_shown_twice(markers: MarkerMode) -> None:
    message = message_with_references(
        "茶<ref>[2]</ref><ref>[1]</ref>。<ref>[9]</ref>水<ref>[1]</ref>", markers
    )
    (text,) = parse_message(message).parts

    unknown_marker = {"strip": "", "bracket": "[9]", "keep": "<ref>[9]</ref>"}[markers]
    assert text == Text(f"茶。{unknown_marker}水", {1: [2, 1], 3 + len(unknown_marker): [1]})
    assert str(AnswerView(message)).startswith(
        f"茶[2][1]。{unknown_marker}水[1]\n\n来源\n  [1] 第1章 · 茶书"
    )


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, []),
        ({"finish_reason": "stop", "model_name": "app", "app_id": "app"}, []),
        ({"finish_reason": "null", "model_name": "qwen", "app_id": "app"}, ["qwen"]),
        ({"finish_reason": "length", "request_id": "r"}, ["finish reason: length", "request r"]),
        ({"reject_status": True}, ["reject status: true"]),
        ({"reject_status": False}, []),
        ({"model_usage": [{"model_id": "a"}], "model_name": "a"}, ["a"]),
        (
            {"model_usage": [{"model_id": "a", "input_tokens": 1000, "output_tokens": 2}, {}]},
            ["a: 1,000 tokens in, 2 out", "?: ? tokens in, ? out"],
        ),
        ({"model_usage": 7, "request_id": ["r"]}, ['request ["r"]']),
    ],
)
def test_usage_is_one_line(metadata: dict[str, Any], expected: list[str]) -> None:
    usage = {"input_tokens": 1234, "output_tokens": 5, "total_tokens": 1239}

    assert parse_message(AIMessage("", response_metadata=metadata)).usage == expected
    assert parse_message(AIMessage("", response_metadata=metadata, usage_metadata=usage)).usage == [
        "1,234 tokens in, 5 out",
        *expected,
    ]


def test_a_block_that_cannot_be_read_is_shown_as_it_is() -> None:
    endless: list[Any] = []
    endless.append(endless)

    class FailingDict(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            if key == "text":
                raise KeyError(key)
            return super().get(key, default)

    (part,) = parse_message(
        AIMessageChunk.model_construct(
            content=[FailingDict(type="text", text="茶")], response_metadata={"output_version": "v1"}
        )
    ).parts
    (step,) = parse_message(
        AIMessageChunk.model_construct(content=[tool_result(endless)], response_metadata=V1)
    ).parts

    assert isinstance(part, GenericBlock)
    assert part.kind == "无法解析"
    assert step == Step("Result", [], done=True, result="[[[[[[[...]]]]]]]")


def test_the_nodes_of_a_workflow_are_steps() -> None:
    answer = parse_answer(read_recording("workflow-full-thoughts.sse"))
    parsed = parse_message(message_from_answer(answer, "app", {}))

    steps = [part for part in parsed.parts if isinstance(part, Step)]
    assert [(step.name, step.args, step.done, step.result) for step in steps] == [
        ("开始", [("type", "Start"), ("exec_time", "0ms")], True, ""),
        ("写诗", [("type", "LLM"), ("exec_time", "900ms")], True, "春眠不觉晓"),
        ("写信", [("type", "LLM"), ("exec_time", "800ms")], True, "见字如面"),
        ("结束", [("type", "End"), ("exec_time", "1ms")], True, ""),
    ]


def test_paused_and_failed_nodes_show_their_status() -> None:
    def read_steps(name: str) -> list[Step]:
        message = message_from_answer(parse_answer(read_recording(name)), "app", {})
        return [part for part in parse_message(message).parts if isinstance(part, Step)]

    assert ("status", "paused") in read_steps("workflow-paused.sse")[1].args
    assert read_steps("workflow-failed.sse")[1].failed


@pytest.mark.parametrize(
    ("status", "args", "done", "failed"),
    [
        ("executing", [], False, False),
        ("success", [], True, False),
        ("paused", [("status", "paused")], True, False),
        ("FAILED", [("status", "FAILED")], True, True),
        ("Internal_Error", [("status", "Internal_Error")], True, True),
    ],
)
def test_a_node_is_done_unless_executing_and_shows_any_status_but_success(
    status: str, args: list[tuple[str, str]], done: bool, failed: bool
) -> None:
    node = {"node_id": "LLM_a", "status": status, "output": "茶"}

    (step,) = parse_message(make_message({"type": "non_standard", "value": node})).parts

    assert step == Step("LLM_a", args, done=done, failed=failed, result="茶")


@pytest.mark.parametrize("is_single", [True, False])
def test_the_data_of_a_picture_in_a_result_is_not_shown(is_single: bool) -> None:
    """A part of an MCP result may be a picture."""
    picture = {"type": "image", "data": "aGk=", "mimeType": "image/png"}
    output = picture if is_single else ["茶", picture]

    (step,) = parse_message(AIMessage([tool_result(output)], response_metadata=V1)).parts

    assert step == Step("Result", [], done=True, result="image/png" if is_single else "茶\nimage/png")
