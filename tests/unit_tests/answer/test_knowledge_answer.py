"""Assembly of the frames of a chat service."""

from __future__ import annotations

import json
from typing import Any

import pytest

from langchain_bailian_app._answer.events import ReasoningDelta, StepCall, StepResult, TextDelta
from langchain_bailian_app._answer.first_token import has_token
from langchain_bailian_app._answer.frames import Frame, FrameReader
from langchain_bailian_app._answer.knowledge_answer import KnowledgeAnswerAssembler

DOCS = [
    {"doc_id": "f-1", "doc_name": "手册", "title": "换气", "content": "每两下换气。", "_id": "c-1"},
    {"doc_id": "f-2", "doc_name": "规则", "title": "时间", "content": "八点开门。", "_id": "c-2"},
]
USAGE = {"input_tokens": 30, "output_tokens": 12, "total_tokens": 42, "cached_tokens": 4}


def encode(
    step: str,
    content: Any = "",
    *,
    role: str = "assistant",
    reason: str = "",
    usage: dict[str, int] | None = None,
    **message: Any,
) -> bytes:
    output = {
        "request_id": "mine",
        "choices": [
            {
                "finish_reason": reason,
                "message": {
                    "role": role,
                    "content": content,
                    "tool_calls": [],
                    "additional_kwargs": {},
                    "response_metadata": {},
                    "extra": {"group": step, "step": step},
                    **message,
                },
            }
        ],
    }
    payload = {"output": output, "code": "200", "message": "Success", "request_id": "r-1"}
    if usage is not None:
        payload["usage"] = usage
    return b"data:" + json.dumps(payload).encode() + b"\n\n"


def call(
    arguments: Any, *, call_id: str | None = "call-1", name: str | None = "semantic_search"
) -> Any:
    return [
        {
            "index": 0,
            "id": call_id,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
    ]


def result(docs: Any = DOCS, *, as_text: bool = False, call_id: str | None = "call-1") -> bytes:
    docs = [doc | {"_citation_index": n} for n, doc in enumerate(docs, start=1)]
    extra_json: Any = {"docs": docs}
    if as_text:
        extra_json = json.dumps(extra_json)
    kwargs = {"extra_json": extra_json}
    return encode("tool_calling", "2 条", role="tool", tool_call_id=call_id, additional_kwargs=kwargs)


PLAN = [encode("planning", "先"), encode("planning", "查。")]
TOOL = [encode("tool_calling", tool_calls=call('{"query":"换气"}'), usage=USAGE), result()]
TEXT = [encode("generating", "每两下换气<ref>[1"), encode("generating", "]</ref>。")]
STOP = [encode("generating", reason="stop", usage=USAGE)]


def read(*chunks: bytes) -> list[Frame]:
    reader = FrameReader()
    frames = [*reader.feed(b"".join(chunks)), *reader.end()]
    assert all(isinstance(frame, Frame) for frame in frames)
    return frames  # type: ignore[return-value]


def assemble(*chunks: bytes, **options: Any) -> tuple[list[Any], Any]:
    assembler = KnowledgeAnswerAssembler(**options)
    deltas = [delta for frame in read(*chunks) for delta in assembler.feed(frame)]
    deltas += assembler.end()
    return deltas, assembler.build_answer()


@pytest.mark.parametrize("steps", [[*PLAN, *TOOL], [*TOOL, *PLAN]], ids=["plan-first", "tool-first"])
def test_only_the_generated_text_is_the_answer(steps: list[bytes]) -> None:
    control = encode("planning", "忽略", role="control")
    deltas, answer = assemble(control, *steps, *TEXT, *STOP)

    assert answer.text == "每两下换气。"
    assert answer.reasoning == "先查。"
    assert answer.finish_reason == "stop"
    assert [type(delta) for delta in deltas if not isinstance(delta, TextDelta)] == (
        [ReasoningDelta, ReasoningDelta, StepCall, StepResult]
        if steps[0] is PLAN[0]
        else [StepCall, StepResult, ReasoningDelta, ReasoningDelta]
    )
    assert answer.steps[0] == StepCall("call-1", "semantic_search", {"query": "换气"}, "retrieval")
    assert answer.steps[1].entry["observation"][0]["content"] == "每两下换气。"
    assert answer.request_id == "r-1"


@pytest.mark.parametrize("as_text", [False, True])
def test_documents_are_references_and_citations(as_text: bool) -> None:
    _, answer = assemble(TOOL[0], result(as_text=as_text), *TEXT, *STOP)

    assert [reference["index_id"] for reference in answer.doc_references] == [1, 2]
    assert answer.doc_references[0]["text"] == "每两下换气。"
    (citation,) = answer.citations
    assert answer.text[citation["start_index"] : citation["end_index"]] == "每两下换气"
    assert (citation["title"], citation["extras"]["doc_id"]) == ("换气", "f-1")


def test_bracket_marks_of_known_sources_are_citations_too() -> None:
    _, answer = assemble(*TOOL, encode("generating", "换气[1]，见[9]和[2](x)。"), *STOP)

    assert answer.text == "换气[1]，见[9]和[2](x)。"
    assert [citation["extras"]["reference_index"] for citation in answer.citations] == [1]


def test_the_last_usage_counts_and_all_rounds_are_kept() -> None:
    final = USAGE | {"output_tokens": 50}
    metadata = {"agent_name": "泳池", "model_name": "qwen-x"}
    _, answer = assemble(
        *TOOL,
        encode("generating", "好", response_metadata=metadata),
        encode("generating", reason="stop", usage=final),
    )

    assert answer.usage == {"models": [{"model_id": "qwen-x"} | final]}
    assert answer.extra["round_usage"] == [USAGE, final]


def test_a_call_may_arrive_in_pieces() -> None:
    pieces = [
        encode("tool_calling", tool_calls=call('{"que')),
        encode("tool_calling", tool_calls=call('ry":"门"}', call_id=None, name=None)),
    ]
    deltas, answer = assemble(*pieces, result(), *STOP)

    assert [delta for delta in deltas if isinstance(delta, StepCall)] == [
        StepCall("call-1", "semantic_search", {"query": "门"}, "retrieval")
    ]
    assert len(answer.steps) == 2


def test_arguments_that_are_no_json_are_reported_before_the_result() -> None:
    deltas, _ = assemble(encode("tool_calling", tool_calls=call("SELECT 1")), result(), *STOP)

    assert deltas[0] == StepCall("call-1", "semantic_search", {"arguments": "SELECT 1"}, "retrieval")
    assert isinstance(deltas[1], StepResult)


def test_a_call_without_a_result_is_reported_before_the_text() -> None:
    deltas, _ = assemble(encode("tool_calling", tool_calls=call("{")), *TEXT, *STOP)

    assert [type(delta) for delta in deltas[:2]] == [StepCall, TextDelta]


def test_a_result_without_a_call_is_a_step() -> None:
    deltas, _ = assemble(result(call_id="call-9"), *STOP)

    assert [delta.id for delta in deltas if isinstance(delta, StepCall)] == ["call-9"]


def test_a_result_without_documents_is_its_text() -> None:
    message = encode(
        "tool_calling",
        "表里没有",
        role="tool",
        tool_call_id="call-1",
        additional_kwargs={"extra_json": {"rows": 0}},
    )
    _, answer = assemble(TOOL[0], message, *STOP)

    assert answer.steps[1].entry["observation"] == "表里没有"
    assert answer.steps[1].entry["extra_json"] == {"rows": 0}
    assert answer.doc_references is None


def test_several_rounds_are_several_steps() -> None:
    second_call = encode("tool_calling", tool_calls=call('{"query":"门"}', call_id="call-2"))
    _, answer = assemble(*TOOL, second_call, result(DOCS[1:], call_id="call-2"), *TEXT, *STOP)

    assert [step.id for step in answer.steps if isinstance(step, StepCall)] == ["call-1", "call-2"]


def test_a_finish_reason_of_a_tool_call_is_not_the_end() -> None:
    frames = read(encode("tool_calling", reason="tool_calls", tool_calls=call("{}")), *TEXT, *STOP)

    assert [frame.finish_reason for frame in frames] == [None, None, None, "stop"]


def test_without_a_finish_reason_the_answer_is_incomplete() -> None:
    _, answer = assemble(*PLAN, *TEXT)

    assert answer.finish_reason is None
    assert answer.text == "每两下换气。"


def test_a_stop_sequence_ends_the_answer() -> None:
    assembler = KnowledgeAnswerAssembler(stop=["。"])
    deltas = [
        delta
        for frame in read(*TEXT, encode("generating", "多余"), *STOP)
        for delta in assembler.feed(frame)
    ]

    assert "".join(delta.text for delta in deltas) == "每两下换气"
    assert assembler.stopped
    assert assembler.build_answer().finish_reason == "stop"


def test_text_parts_and_unknown_steps_and_fields_are_kept() -> None:
    parts = [{"type": "text", "text": "好"}, {"type": "image", "url": "x"}]
    _, answer = assemble(encode("reflecting", "想"), encode("generating", parts), *STOP)

    assert answer.text == "好"
    assert answer.extra["other_steps"] == {"reflecting": "想"}


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (encode("planning", "a"), True),
        (encode("tool_calling", tool_calls=call("{}")), True),
        (encode("planning"), False),
        (b'data:{"output":{"choices":[null]}}\n\n', False),
    ],
)
def test_the_first_token_is_text_reasoning_or_a_call(chunk: bytes, expected: bool) -> None:
    (frame,) = read(chunk)

    assert has_token(frame) is expected
