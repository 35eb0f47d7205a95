"""Tests of standard content blocks of messages, chunks and merged chunks."""

from typing import Any

import pytest
from langchain_core.language_models._utils import _update_message_content_to_blocks
from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_bailian_app._answer.citations import MarkerMode
from langchain_bailian_app.chat_models._content_blocks import (
    content_blocks_from_message,
    default_block_order,
)
from langchain_bailian_app.chat_models._messages import message_from_answer
from tests.fixtures import (
    ANSWER_RECORDINGS,
    assemble,
    make_chunks,
    merge_chunks,
    parse_answer,
    parse_frames,
    read_recording,
)

METADATA = {"model_provider": "bailian"}


def blocks_from_recording(name: str) -> list[dict[str, Any]]:
    return [
        dict(block)
        for block in message_from_answer(parse_answer(read_recording(name)), "app", {}).content_blocks
    ]


def test_an_answer_is_one_text_block() -> None:
    text = "茶馆上午九点开门，晚上十点关门。"

    assert [{"type": "text", "text": text, "index": "lc_text"}] == blocks_from_recording(
        "incremental.sse"
    )


def test_reasoning_comes_before_the_text() -> None:
    assert blocks_from_recording("reasoning-then-text.sse") == [
        {"type": "reasoning", "reasoning": "客人问的是水温。", "index": "lc_reasoning"},
        {"type": "text", "text": "八十五度。", "index": "lc_text"},
    ]


def test_steps_are_pairs_of_a_call_and_a_result() -> None:
    blocks = blocks_from_recording("steps-observed-later.sse")

    assert blocks[:4] == [
        {
            "type": "server_tool_call",
            "id": "bailian_0",
            "name": "长期记忆检索",
            "args": {"memory_id": "m1", "query": "茶"},
            "extras": {"kind": "memory"},
            "index": "lc_call:bailian_0",
        },
        {
            "type": "server_tool_result",
            "tool_call_id": "bailian_0",
            "status": "success",
            "output": ["[2025-1-2] 客人喝淡茶。"],
            "index": "lc_result:bailian_0",
        },
        {
            "type": "server_tool_call",
            "id": "bailian_1",
            "name": "plugin",
            "args": {"city": "杭州"},
            "extras": {"kind": "plugin"},
            "index": "lc_call:bailian_1",
        },
        {
            "type": "server_tool_result",
            "tool_call_id": "bailian_1",
            "status": "success",
            "output": {"temperature": 21},
            "index": "lc_result:bailian_1",
        },
    ]
    assert [
        (
            block["index"],
            {key: block[key] for key in ("type", "name", "text", "output") if key in block},
        )
        for block in blocks[4:]
    ] == [
        ("lc_call:bailian_2", {"type": "server_tool_call", "name": "teleport"}),
        ("lc_text", {"type": "text", "text": "今天二十一度。"}),
        ("lc_result:bailian_2", {"type": "server_tool_result", "output": None}),
    ]


def test_blocks_are_in_the_order_of_arrival() -> None:
    assert [block["type"] for block in blocks_from_recording("step-between-reasoning.sse")] == [
        "server_tool_call",
        "server_tool_result",
        "reasoning",
        "text",
    ]


def test_citations_annotate_the_text() -> None:
    *_, text = blocks_from_recording("markers-split.sse")

    assert text["type"] == "text"
    assert [annotation["type"] for annotation in text["annotations"]] == ["citation"] * 3
    cited_texts = [text["text"][a["start_index"] : a["end_index"]] for a in text["annotations"]]
    assert cited_texts == ["绿茶不发酵", "绿茶不发酵，红茶全发酵", "绿茶不发酵，红茶全发酵"]


@pytest.mark.parametrize("markers", ["strip", "bracket", "keep"])
@pytest.mark.parametrize("name", ANSWER_RECORDINGS)
def test_merged_chunks_have_the_blocks_of_the_message(name: str, markers: MarkerMode) -> None:
    deltas, answer = assemble(parse_frames(read_recording(name)), markers=markers)
    message = message_from_answer(answer, "app", {})
    chunks = [_update_message_content_to_blocks(chunk, "v1") for chunk in make_chunks(deltas, answer)]

    merged = merge_chunks(chunks)

    assert message.content_blocks == merged.content
    assert message.content_blocks == merged.content_blocks
    assert bool(answer.text) == (
        [block["type"] for block in merged.content_blocks if block["type"] == "text"] == ["text"]
    )
    assert message.text == merged.text


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([], []),
        (["text"], ["text"]),
        (["text", "reasoning"], ["reasoning", "text"]),
        (["call:0", "text", "result:0", "reasoning"], ["reasoning", "call:0", "result:0", "text"]),
    ],
)
def test_by_default_reasoning_comes_first_and_the_text_last(
    order: list[str], expected: list[str]
) -> None:
    assert expected == default_block_order(order)


def test_blocks_follow_the_block_order_and_unlisted_ones_come_last() -> None:
    node = {"event": "n:1", "node_id": "n", "status": "success"}
    call = {"type": "server_tool_call", "id": "1", "name": "rag", "args": {}}
    kwargs = {
        "reasoning_content": "想",
        "steps": [call, {"type": "server_tool_result", "tool_call_id": "1"}],
        "thoughts": [{"observation": "[1]"}],
        "nodes": [node],
    }

    def blocks_in_order(*order: str) -> list[Any]:
        return content_blocks_from_message(
            AIMessage("茶", additional_kwargs=kwargs | {"block_order": list(order)})
        )

    blocks = {
        "reasoning": {"type": "reasoning", "reasoning": "想"},
        "call:1": call,
        "result:1": {"type": "server_tool_result", "tool_call_id": "1", "output": [1]},
        "node:n:1": {"type": "non_standard", "value": {"node_id": "n", "status": "success"}},
        "text": {"type": "text", "text": "茶"},
    }
    for order in (
        ["reasoning", "call:1", "result:1", "node:n:1", "text"],
        ["node:n:1", "text", "result:1", "call:1", "reasoning"],
    ):
        assert blocks_in_order(*order) == [blocks[part] | {"index": f"lc_{part}"} for part in order]
    kinds = ["text", "reasoning", "server_tool_call", "server_tool_result", "non_standard"]
    assert [block["type"] for block in blocks_in_order("text")] == kinds


def test_calls_of_the_callers_tools_are_blocks_after_the_text() -> None:
    call = {"name": "add", "args": {"a": 1}, "id": "c1"}
    invalid = {"name": "mul", "args": "{", "id": "c2", "error": "no such tool"}
    message = AIMessage("算。", tool_calls=[call], invalid_tool_calls=[invalid])

    assert content_blocks_from_message(message) == [
        {"type": "text", "text": "算。", "index": "lc_text"},
        {**call, "type": "tool_call", "index": "lc_tool:c1"},
        {**invalid, "type": "invalid_tool_call", "index": "lc_tool:c2"},
    ]


def test_a_chunk_has_call_chunks_and_the_last_one_the_calls() -> None:
    call_chunk = {"name": "add", "args": '{"a": 1}', "id": "c1", "index": 0}

    (chunk_block,) = content_blocks_from_message(AIMessageChunk("", tool_call_chunks=[call_chunk]))
    (last_block,) = content_blocks_from_message(
        AIMessageChunk("", tool_call_chunks=[call_chunk], chunk_position="last")
    )

    assert chunk_block == {**call_chunk, "type": "tool_call_chunk", "index": "lc_tool:0"}
    call = {"type": "tool_call", "name": "add", "args": {"a": 1}, "id": "c1"}
    assert last_block == {**call, "index": "lc_tool:c1"}


def test_a_chunk_with_only_citations_has_an_empty_text_block() -> None:
    citations = [{"type": "citation", "title": "茶书"}]
    (block,) = content_blocks_from_message(AIMessage("", additional_kwargs={"citations": citations}))

    assert block == {"type": "text", "text": "", "annotations": citations, "index": "lc_text"}


def test_an_empty_message_has_no_blocks() -> None:
    assert AIMessage("", response_metadata=METADATA).content_blocks == []


def test_reading_blocks_does_not_change_the_message() -> None:
    message = message_from_answer(parse_answer(read_recording("markers-split.sse")), "app", {})
    before = message.model_dump_json()

    assert content_blocks_from_message(message) == content_blocks_from_message(message)
    assert before == message.model_dump_json()


@pytest.mark.parametrize(
    "content",
    [
        ["茶"],
        [{"type": "text", "text": "茶"}],
        [{"type": "text", "text": "茶"}, {"type": "mystery", "x": 1}],
        [],
    ],
)
def test_content_that_is_a_list_is_left_to_langchain(content: list[Any]) -> None:
    message = AIMessage(content, response_metadata=METADATA)

    assert AIMessage(content).content_blocks == message.content_blocks


@pytest.mark.parametrize(
    "additional_kwargs",
    [
        {"unknown": 1, "refusal": None},
        {"steps": None, "thoughts": None, "citations": None, "block_order": None},
        {"steps": ["call", None, 7]},
        {"steps": [{}]},
        {"steps": [{"type": "server_tool_result"}], "thoughts": []},
        {"steps": [{"type": "server_tool_result"}], "thoughts": [None]},
        {"steps": [{"type": "server_tool_result"}], "thoughts": ["raw"]},
        {"steps": [{"type": "server_tool_call"}]},
        {"steps": {"type": "server_tool_call"}},
        {"steps": 7},
        {"steps": [{"type": "server_tool_result"}], "thoughts": 7},
        {"thoughts": [{"action": "rag"}]},
        {"reasoning_content": ""},
        {"reasoning_content": None},
        {"block_order": ["text", "nowhere"]},
        {"block_order": "text"},
        {"block_order": [["text"], None]},
        {"block_order": 7},
    ],
)
def test_malformed_messages_have_blocks_too(additional_kwargs: dict[str, Any]) -> None:
    message = AIMessage("茶", additional_kwargs=additional_kwargs, response_metadata=METADATA)

    assert {"type": "text", "text": "茶", "index": "lc_text"} in message.content_blocks
