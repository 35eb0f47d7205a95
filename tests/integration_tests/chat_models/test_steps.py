"""Tests of steps and reasoning through the public API.

No capture shows a step in pieces or an MCP step; the emulator's switches produce what clients of the
service report.
"""

from __future__ import annotations

import json
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app.display import AnswerView
from langchain_bailian_app.emulator import App, Reply
from langchain_bailian_app.errors import BailianStreamError
from tests.fixtures import encode_sse, frame_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain_core.messages import AIMessage

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]
    Call = Callable[[BailianAppChatModel], Awaitable[AIMessage]]

FAILED = {"content": [{"type": "text", "text": '{"reason": "没有这个文件"}'}], "isError": True}
FOUND = {"content": [{"type": "text", "text": "龙井"}, {"type": "text", "text": "[1, 2]"}]}
NAMES = {"action": "readFile", "action_name": "readFile", "action_type": "mcp"}


def dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


READ = {**NAMES, "arguments": dump({"path": "茶/一.txt", "lines": [1, 20]})}
STEPS: list[dict[str, Any]] = [
    READ | {"observation": dump(FAILED)},
    {
        "action_type": "agentRag",
        "action": "rag",
        "action_name": "知识检索",
        "action_input_stream": "{}",
        "arguments": "{}",
        "observation": '[{"content": "龙井产于杭州。", "referenceIndex": 1}]',
    },
    READ | {"observation": dump(FOUND)},
    READ | {"observation": "目录是空的，没有文件。"},
]
OUTPUTS = [
    {"reason": "没有这个文件"},
    [{"content": "龙井产于杭州。", "referenceIndex": 1}],
    ["龙井", [1, 2]],
    "目录是空的，没有文件。",
]


async def invoke(model: BailianAppChatModel) -> AIMessage:
    return model.invoke("?")


async def stream(model: BailianAppChatModel) -> AIMessage:
    return reduce(add, model.stream("?"))


async def ainvoke(model: BailianAppChatModel) -> AIMessage:
    return await model.ainvoke("?")


async def astream(model: BailianAppChatModel) -> AIMessage:
    return reduce(add, [chunk async for chunk in model.astream("?")])


async def invoke_without_stream(model: BailianAppChatModel) -> AIMessage:
    return model.model_copy(update={"streaming": False}).invoke("?")


all_calls = pytest.mark.parametrize(
    "call", [invoke, stream, ainvoke, astream, invoke_without_stream], ids=lambda call: call.__name__
)


streaming_calls = pytest.mark.parametrize(
    "call", [invoke, stream, ainvoke, astream], ids=lambda call: call.__name__
)


def reader(**fields: Any) -> App:
    """Return an application that reads files before it answers."""
    reply = Reply("没找到。", reasoning="先读文件，再回答。", steps=STEPS)
    return App("reader", answer=lambda _: reply, thinking="on", **fields)


def blocks_of(message: AIMessage, kind: str) -> list[dict[str, Any]]:
    return [dict(block) for block in message.content_blocks if block["type"] == kind]


@all_calls
@pytest.mark.parametrize("repeat_steps", [False, True])
@pytest.mark.parametrize("step_form", ["whole", "increments", "growing"])
async def test_number_2_a_step_in_pieces_is_one_step(
    make_model: MakeModel, bailian: BailianEmulator, step_form: Any, repeat_steps: bool, call: Call
) -> None:
    app_id = bailian.add_app(reader(step_form=step_form, repeat_steps=repeat_steps))
    message = await call(make_model(app_id, has_thoughts=True))

    calls = blocks_of(message, "server_tool_call")
    results = {
        block["tool_call_id"]: block["output"] for block in blocks_of(message, "server_tool_result")
    }
    assert [block["args"] for block in calls] == [json.loads(step["arguments"]) for step in STEPS]
    assert [results.pop(block["id"]) for block in calls] == OUTPUTS
    assert results == {}
    assert sorted(message.additional_kwargs["thoughts"], key=STEPS.index) == STEPS
    assert message.text == "没找到。"


@pytest.mark.parametrize("step_form", ["whole", "increments", "growing"])
def test_number_2_the_call_streams_before_its_result(
    make_model: MakeModel, bailian: BailianEmulator, step_form: Any
) -> None:
    model = make_model(bailian.add_app(reader(step_form=step_form)), has_thoughts=True)

    streamed = reduce(add, chunks := list(model.stream("?")))
    steps = [step for chunk in chunks for step in chunk.additional_kwargs.get("steps", ())]

    assert [(step["type"], step.get("id", step.get("tool_call_id"))) for step in steps[:2]] == [
        ("server_tool_call", "bailian_0"),
        ("server_tool_result", "bailian_0"),
    ]
    assert streamed.content_blocks == model.invoke("?").content_blocks


@pytest.mark.parametrize("step_form", ["increments", "growing"])
def test_number_2_a_step_of_an_interrupted_answer_is_no_success(
    make_model: MakeModel, bailian: BailianEmulator, step_form: Any
) -> None:
    app = reader(step_form=step_form)
    model = make_model(bailian.add_app(app), has_thoughts=True)
    app.cut_after = 20  # in the observation of the first step

    with pytest.raises(BailianStreamError) as caught:
        model.invoke("?")

    assert caught.value.partial is not None
    (result,) = blocks_of(caught.value.partial, "server_tool_result")
    assert result["status"] == "error"


@all_calls
@pytest.mark.parametrize("reasoning_field", ["thought", "response", "reasoning_content"])
async def test_number_3_reasoning_is_read_from_each_field(
    make_model: MakeModel, bailian: BailianEmulator, reasoning_field: Any, call: Call
) -> None:
    app_id = bailian.add_app(reader(reasoning_field=reasoning_field))
    message = await call(make_model(app_id, has_thoughts=True))

    assert message.additional_kwargs["reasoning_content"] == "先读文件，再回答。"
    assert [block["reasoning"] for block in blocks_of(message, "reasoning")] == ["先读文件，再回答。"]
    assert "extra" not in message.response_metadata


@all_calls
async def test_number_3_unknown_fields_of_reasoning_are_kept(
    make_model: MakeModel, bailian: BailianEmulator, call: Call
) -> None:
    entry = {"action_type": "reasoning", "reasoning_content": "想。", "signature": "s", "round": 2}
    reply = Reply("好。", steps=[entry])
    app_id = bailian.add_app(App("thinker", answer=lambda _: reply))
    message = await call(make_model(app_id, has_thoughts=True))

    assert message.additional_kwargs["reasoning_content"] == "想。"
    assert message.response_metadata["extra"] == {"reasoning": {"signature": "s", "round": 2}}


@streaming_calls
async def test_number_3_fields_beside_the_reasoning_are_merged(
    make_model: MakeModel, bailian: BailianEmulator, call: Call
) -> None:
    entries = [
        {"reasoning_content": text, "response": piece, "round": number}
        for number, (text, piece) in enumerate([("先想", "绿"), ("再想", "茶"), ("", "。")])
    ]
    bodies = [frame_body(thoughts=[{"action_type": "reasoning"} | entry]) for entry in entries]
    app_id = bailian.replay(encode_sse(*bodies, frame_body("好。", "stop")))
    message = await call(make_model(app_id, has_thoughts=True))

    assert message.additional_kwargs["reasoning_content"] == "先想再想。"
    assert message.response_metadata["extra"] == {"reasoning": {"response": "绿茶", "round": 2}}


THINK = {"action_type": "reasoning", "thought": "想", "response": "想"}


@streaming_calls
@pytest.mark.parametrize(
    ("frames", "steps"),
    [
        pytest.param(
            [[READ], [READ | {"observation": "没"}, THINK], [NAMES | {"observation": "有"}, THINK]],
            [READ | {"observation": "没有"}],
            id="reasoning beside the pieces of an observation",
        ),
        pytest.param(
            [[NAMES | {"action_input": path, "observation": path}] for path in ("一", "二")],
            [NAMES | {"action_input": path, "observation": path} for path in ("一", "二")],
            id="calls whose arguments are not JSON",
        ),
        pytest.param(
            [[NAMES | {"arguments": {}, "observation": text}] for text in ("晴", "雨")],
            [NAMES | {"arguments": {}, "observation": text} for text in ("晴", "雨")],
            id="calls without arguments",
        ),
    ],
)
async def test_number_2_steps_are_neither_joined_nor_divided(
    make_model: MakeModel,
    bailian: BailianEmulator,
    frames: list[list[dict[str, Any]]],
    steps: list[dict[str, Any]],
    call: Call,
) -> None:
    bodies = [frame_body(thoughts=thoughts) for thoughts in frames]
    app_id = bailian.replay(encode_sse(*bodies, frame_body("好。", "stop")))
    message = await call(make_model(app_id, has_thoughts=True))

    assert message.additional_kwargs["thoughts"] == steps
    assert len(blocks_of(message, "server_tool_call")) == len(steps)
    assert [block["output"] for block in blocks_of(message, "server_tool_result")] == [
        step["observation"] for step in steps
    ]


@all_calls
@pytest.mark.parametrize("step_form", ["whole", "increments", "growing"])
async def test_number_6_a_failed_mcp_tool_has_the_status_error(
    make_model: MakeModel, bailian: BailianEmulator, step_form: Any, call: Call
) -> None:
    app_id = bailian.add_app(reader(step_form=step_form))
    message = await call(make_model(app_id, has_thoughts=True))

    results = blocks_of(message, "server_tool_result")

    assert {block["tool_call_id"]: block["status"] for block in results} == {
        "bailian_0": "error",
        "bailian_1": "success",
        "bailian_2": "success",
        "bailian_3": "success",
    }
    assert [block["output"] for block in results if block["status"] == "error"] == [
        {"reason": "没有这个文件"}
    ]


def test_number_6_a_failed_mcp_tool_is_displayed_with_its_text(
    make_model: MakeModel, bailian: BailianEmulator
) -> None:
    model = make_model(bailian.add_app(reader()), has_thoughts=True)

    html = AnswerView(model.invoke("?"))._repr_html_()

    assert "没有这个文件" in html
    assert "isError" not in html
