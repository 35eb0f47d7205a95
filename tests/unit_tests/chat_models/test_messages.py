"""Tests of messages, and of chunks that merge to the same message."""

import functools
import json
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk

from langchain_bailian_app._answer.answer import Answer
from langchain_bailian_app._answer.citations import MarkerMode
from langchain_bailian_app._answer.events import (
    ReasoningDelta,
    StepCall,
    StepResult,
    TextDelta,
    ToolCall,
)
from langchain_bailian_app.chat_models._messages import (
    build_last_chunk,
    chunk_from_delta,
    generation_chunks_from_deltas,
    message_from_answer,
)
from tests.fixtures import (
    ANSWER_RECORDINGS,
    assemble,
    encode_sse,
    frame_body,
    make_chunks,
    merge_chunks,
    parse_answer,
    parse_frames,
    read_recording,
)


def comparable_fields(message: AIMessage) -> dict[str, Any]:
    """Return the fields that must be equal in a message and its merged chunks."""
    return {
        "content": message.content,
        "additional_kwargs": message.additional_kwargs,
        "response_metadata": message.response_metadata,
        "usage_metadata": message.usage_metadata,
        "content_blocks": message.content_blocks,
    }


def message_from_body(data: bytes, **options: Any) -> AIMessage:
    return message_from_answer(parse_answer(data, **options), "app", {})


def test_a_message_has_everything_the_service_returned() -> None:
    message = message_from_body(read_recording("whole-answer.json"))
    body = json.loads(read_recording("whole-answer.json"))
    search = body["output"]["thoughts"][0]

    assert message.content == "白茶微发酵。"
    assert message.additional_kwargs == {
        "steps": [
            {
                "type": "server_tool_call",
                "id": "bailian_0",
                "name": "知识检索",
                "args": {},
                "extras": {"kind": "retrieval"},
            },
            {"type": "server_tool_result", "tool_call_id": "bailian_0", "status": "success"},
        ],
        "thoughts": [search],
        "doc_references": body["output"]["doc_references"],
        "citations": [
            {
                "type": "citation",
                "title": "第1章",
                "start_index": 0,
                "end_index": 5,
                "cited_text": "正文1",
                "extras": {"reference_index": 1, "doc_id": "file_1", "doc_name": "茶书1"},
            }
        ],
        "block_order": ["call:bailian_0", "result:bailian_0", "reasoning", "text"],
        "reasoning_content": "查书。",
    }
    assert message.response_metadata == {
        "model_provider": "bailian",
        "model_name": "qwen-test",
        "app_id": "app",
        "finish_reason": "stop",
        "session_id": "session-tea",
        "request_id": "request-tea",
        "token_usage": {"prompt_tokens": 80, "completion_tokens": 9, "total_tokens": 89},
        "model_usage": [{"output_tokens": 9, "input_tokens": 80, "model_id": "qwen-test"}],
    }
    assert message.usage_metadata == {"input_tokens": 80, "output_tokens": 9, "total_tokens": 89}


def test_fields_the_service_did_not_return_are_absent() -> None:
    message = message_from_body(read_recording("smallest-answer.json"))

    assert message.additional_kwargs == {}
    assert message.usage_metadata is None
    assert {
        "model_provider",
        "model_name",
        "app_id",
        "finish_reason",
        "session_id",
        "request_id",
    } == set(message.response_metadata)


def test_an_answer_without_a_model_has_the_name_of_the_application() -> None:
    assert (
        message_from_body(read_recording("smallest-answer.json")).response_metadata["model_name"]
        == "app"
    )


def test_content_is_a_plain_string_and_steps_are_no_tool_calls() -> None:
    for name in ANSWER_RECORDINGS:
        message = message_from_body(read_recording(name))

        assert isinstance(message.content, str)
        assert message.tool_calls == []


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"models": [{"input_tokens": 1, "output_tokens": 2}]}, (1, 2, 3)),
        ({"models": [{"input_tokens": 1, "output_tokens": 2}] * 2}, (2, 4, 6)),
        ({"models": [{"input_tokens": 1, "output_tokens": 2}, {"output_tokens": 3}]}, (1, 5, 6)),
        ({"models": [{"input_tokens": None, "output_tokens": 2}, None]}, (0, 2, 2)),
        ({"input_tokens": 4, "output_tokens": 5}, (4, 5, 9)),
        ({"models": [], "input_tokens": 4, "output_tokens": 5}, (4, 5, 9)),
        ({"models": [{"input_tokens": 4}]}, (4, 0, 4)),
        ({"output_tokens": 5}, (0, 5, 5)),
        ({"models": [{"model_id": "m"}]}, None),
        ({"models": []}, None),
        ({"models": None}, None),
        ({}, None),
    ],
)
def test_usage_is_summed_over_the_models_of_the_last_snapshot(
    usage: dict[str, Any], expected: tuple[int, int, int] | None
) -> None:
    metadata = message_from_answer(Answer(usage=usage), "app", {}).usage_metadata

    assert expected == (tuple(metadata.values()) if metadata else None)


def test_the_last_usage_counts_once() -> None:
    message = message_from_body(read_recording("workflow-two-models.sse"))

    assert message.usage_metadata == {"input_tokens": 55, "output_tokens": 10, "total_tokens": 65}
    assert [model["output_tokens"] for model in message.response_metadata["model_usage"]] == [6, 4]


def test_unknown_fields_end_up_in_extra() -> None:
    message = message_from_body(read_recording("nulls-and-unknown-fields.sse"))

    assert message.response_metadata["extra"] == {
        "trace": {"hop": 2},
        "output": {"mood": "calm", "tier": 2},
        "usage": {"credits": 5},
    }


def test_models_of_the_wrong_type_end_up_in_extra() -> None:
    message = message_from_answer(Answer(usage={"models": "qwen", "credits": 5}), "app", {})

    assert message.response_metadata["extra"] == {"usage": {"credits": 5, "models": "qwen"}}
    assert "model_usage" not in message.response_metadata


def test_the_final_text_of_a_workflow_and_recalled_memories_are_metadata() -> None:
    entry = {"action_type": "api", "action": "memory", "observation": '["喜欢面食"]'}
    answer = Answer(final_text="完", steps=[StepResult("bailian_0", entry)])
    metadata = message_from_answer(answer, "app", {}).response_metadata

    assert metadata["final_text"] == "完"
    assert metadata["memories"] == [{"text": "喜欢面食", "stored_at": None}]


# -- chunks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delta", "content", "additional_kwargs"),
    [
        (TextDelta("茶"), "茶", {}),
        (ReasoningDelta("想"), "", {"reasoning_content": "想"}),
        (
            StepCall("bailian_0", "天气", {"city": "杭州"}),
            "",
            {
                "steps": [
                    {
                        "type": "server_tool_call",
                        "id": "bailian_0",
                        "name": "天气",
                        "args": {"city": "杭州"},
                    }
                ]
            },
        ),
        (
            StepResult("bailian_0", {"action": "weather", "observation": "晴"}),
            "",
            {
                "steps": [
                    {"type": "server_tool_result", "tool_call_id": "bailian_0", "status": "success"}
                ],
                "thoughts": [{"action": "weather", "observation": "晴"}],
            },
        ),
    ],
)
def test_a_chunk_has_one_kind_of_content(
    delta: TextDelta | ReasoningDelta | StepCall | StepResult,
    content: str,
    additional_kwargs: dict[str, Any],
) -> None:
    expected = AIMessageChunk(
        content=content,
        additional_kwargs=additional_kwargs,
        response_metadata={"model_provider": "bailian"},
    )

    assert expected == chunk_from_delta(delta)


VALID_CALL = ToolCall("天气", {"city": "杭州"}, "<tool_call>…</tool_call>", "call_1", 0)
INVALID_CALL = ToolCall("sub", {}, "<tool_call>{…}</tool_call>", "call_2", 1, "unknown function 'sub'")


def test_a_valid_call_streams_in_two_chunks_and_invalid_ones_come_with_the_last_chunk() -> None:
    start, arguments = (chunk.message for chunk in generation_chunks_from_deltas([VALID_CALL]))
    last = build_last_chunk(
        Answer(tool_calls=[VALID_CALL, INVALID_CALL], finish_reason="stop"), "app", {}
    )

    assert start == AIMessageChunk(
        content="",
        tool_call_chunks=[tool_call_chunk(name="天气", args="", id="call_1", index=0)],
        response_metadata={"model_provider": "bailian"},
    )
    assert arguments == AIMessageChunk(
        content="",
        tool_call_chunks=[tool_call_chunk(name=None, args='{"city": "杭州"}', id=None, index=0)],
        response_metadata={"model_provider": "bailian"},
    )
    assert last.tool_call_chunks == [
        tool_call_chunk(name="sub", args="<tool_call>{…}</tool_call>", id="call_2", index=1)
    ]


def test_calls_of_chunks_and_message_are_the_same() -> None:
    answer = Answer(tool_calls=[VALID_CALL, INVALID_CALL], finish_reason="stop")
    message = message_from_answer(answer, "app", {})
    call_chunks = [chunk.message for chunk in generation_chunks_from_deltas([VALID_CALL])]
    chunks = merge_chunks([*call_chunks, build_last_chunk(answer, "app", {})])

    assert message.tool_calls == chunks.tool_calls
    assert message.tool_calls == [tool_call(name="天气", args={"city": "杭州"}, id="call_1")]
    assert [call | {"error": None} for call in chunks.invalid_tool_calls] == message.invalid_tool_calls
    assert message.invalid_tool_calls == [
        invalid_tool_call(name="sub", args="<tool_call>{…}</tool_call>", id="call_2", error=None)
    ]
    assert message.response_metadata["tool_call_problems"] == ["unknown function 'sub'"]


@pytest.mark.parametrize("name", ANSWER_RECORDINGS)
def test_each_chunk_has_one_kind_of_block(name: str) -> None:
    for chunk in make_chunks(*assemble(parse_frames(read_recording(name)))):
        assert len(chunk.content_blocks) <= 1


@pytest.mark.parametrize("name", ANSWER_RECORDINGS)
def test_metadata_and_usage_are_on_the_last_chunk_only(name: str) -> None:
    *chunks, last = make_chunks(*assemble(parse_frames(read_recording(name))))

    assert last.chunk_position == "last"
    assert last.content == ""
    for chunk in chunks:
        assert chunk.response_metadata == {"model_provider": "bailian"}
        assert chunk.usage_metadata is None
        assert chunk.chunk_position is None


@pytest.mark.parametrize("markers", ["strip", "bracket", "keep"])
@pytest.mark.parametrize("name", ANSWER_RECORDINGS)
def test_the_sum_of_the_chunks_is_the_message(name: str, markers: MarkerMode) -> None:
    deltas, answer = assemble(parse_frames(read_recording(name)), markers=markers)

    expected = comparable_fields(message_from_answer(answer, "app", {}))
    assert expected == comparable_fields(merge_chunks(make_chunks(deltas, answer)))


@given(st.sampled_from(ANSWER_RECORDINGS), st.integers(1, 5))
def test_the_order_in_which_chunks_are_summed_does_not_matter(name: str, size: int) -> None:
    deltas, answer = assemble(parse_frames(read_recording(name)))
    chunks = make_chunks(deltas, answer)
    groups = [merge_chunks(chunks[start : start + size]) for start in range(0, len(chunks), size)]

    assert comparable_fields(merge_chunks(chunks)) == comparable_fields(
        functools.reduce(operator.add, groups)
    )


def test_entries_with_an_index_are_not_merged() -> None:
    bodies = [
        frame_body(thoughts=[{"action": "a", "index": 0, "n": 1}, {"action": "b", "index": 0, "n": 1}])
    ]
    deltas, answer = assemble(parse_frames(encode_sse(*bodies, frame_body("茶", "stop"))))

    message = merge_chunks(make_chunks(deltas, answer))

    assert [entry["action"] for entry in message.additional_kwargs["thoughts"]] == ["a", "b"]
    assert [entry["n"] for entry in message.additional_kwargs["thoughts"]] == [1, 1]
    assert [entry["wire_index"] for entry in message.additional_kwargs["thoughts"]] == [0, 0]
    assert not any("index" in entry for entry in message.additional_kwargs["thoughts"])


def test_65_frames_with_repeated_references_contain_each_of_them_once() -> None:
    def stream(frames: int) -> tuple[AIMessageChunk, list[AIMessageChunk]]:
        numbers = (4, 2, 3, 5)
        bodies = []
        for n in range(1, frames):
            reference_numbers = sorted(numbers[: n * 5 // frames])
            references = [
                {"index_id": str(i), "title": f"第{i}章", "text": "正文" * 50}
                for i in reference_numbers
            ]
            thoughts = [{"action": "rag", "observation": '[{"content": "茶", "referenceIndex": 4}]'}]
            body = frame_body(
                f"句{n}",
                thoughts=thoughts,
                **({"doc_references": references} if reference_numbers else {}),
            )
            body["usage"] = {"models": [{"model_id": "m", "input_tokens": 9, "output_tokens": n}]}
            bodies.append(body)
        bodies.append(
            {**bodies[-1], "output": {**bodies[-1]["output"], "text": "", "finish_reason": "stop"}}
        )
        deltas, answer = assemble(parse_frames(encode_sse(*bodies)))
        chunks = make_chunks(deltas, answer)
        return merge_chunks(chunks), chunks

    def json_size(chunks: list[AIMessageChunk]) -> int:
        payloads = [(chunk.additional_kwargs, chunk.response_metadata) for chunk in chunks]
        return len(json.dumps(payloads))

    message, chunks = stream(65)
    longer_message, longer_chunks = stream(130)
    extra_chunk_count = len(longer_chunks) - len(chunks)

    references = [ref for chunk in chunks for ref in chunk.additional_kwargs.get("doc_references", [])]
    assert [reference["index_id"] for reference in references] == ["2", "3", "4", "5"]
    assert references == message.additional_kwargs["doc_references"]
    assert sum(len(chunk.additional_kwargs.get("thoughts", [])) for chunk in chunks) == 1
    assert message.additional_kwargs == longer_message.additional_kwargs
    different = dict.fromkeys(("model_usage", "token_usage"))
    assert message.response_metadata | different == longer_message.response_metadata | different
    # Each further chunk adds only the provider name; three token counts have one digit more.
    per_chunk = len(json.dumps([({}, {"model_provider": "bailian"})] * 2)) - len(
        json.dumps([({}, {"model_provider": "bailian"})])
    )
    assert json_size(longer_chunks) - json_size(chunks) == extra_chunk_count * per_chunk + 3
    assert message.usage_metadata == {"input_tokens": 9, "output_tokens": 64, "total_tokens": 73}


@pytest.mark.parametrize(
    ("output_tokens", "expected"),
    [
        ({}, "app"),
        ({"first": None, "last": None}, "last"),
        ({"first": 2, "last": 1}, "first"),
        ({"first": 2, "last": 2}, "last"),
        ({"first": "9", "last": 10}, "last"),
        ({"first": 1, "": 2}, "first"),
        ({"": 2}, "app"),
    ],
)
def test_the_model_with_the_most_output_tokens_is_named(
    output_tokens: dict[str, Any], expected: str
) -> None:
    models = [{"model_id": name, "output_tokens": count} for name, count in output_tokens.items()]
    message = message_from_answer(Answer(usage={"models": models}), "app", {})

    assert message.response_metadata["model_name"] == expected


def test_a_message_with_a_lone_surrogate_survives_json() -> None:
    body = frame_body(
        "茶\ud83d", "stop", mood="\ud83d", thoughts=[{"action": "a", "observation": "\udf75"}]
    )
    message = message_from_body(encode_sse(json.dumps(body)))

    assert message.model_dump_json().encode()


@given(
    st.lists(
        st.sampled_from(["茶", "<ref>[1]</ref>", "<ref>[2]", "</ref>", "。", "\ud83c", "\udf75", "🍵"]),
        max_size=8,
    ),
    st.sampled_from(["strip", "bracket", "keep"]),
    st.lists(st.sampled_from(["。", "茶茶"]), max_size=1),
)
def test_the_sum_of_the_chunks_of_any_text_is_the_message(
    texts: list[str], markers: MarkerMode, stop: list[str]
) -> None:
    hits = '[{"content": "茶", "referenceIndex": 1}]'
    bodies = [frame_body(text, thoughts=[{"action": "rag", "observation": hits}]) for text in texts]
    stream = encode_sse(*map(json.dumps, [*bodies, frame_body("", "stop")]))
    deltas, answer = assemble(parse_frames(stream), markers=markers, stop=stop)

    message = message_from_answer(answer, "app", {})

    assert comparable_fields(message) == comparable_fields(merge_chunks(make_chunks(deltas, answer)))
    assert message.model_dump_json()
