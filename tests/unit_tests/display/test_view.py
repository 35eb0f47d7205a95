"""What an answer shows in a terminal, and what is read out of a message for it."""

import io
import json
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from langchain_core.messages import AIMessage, AIMessageChunk
from rich.console import Console

from langchain_bailian_app._answer.citations import MarkerMode
from langchain_bailian_app.chat_models._messages import message_from_answer
from langchain_bailian_app.display import AnswerView
from langchain_bailian_app.display._parts import Other, Reasoning, Shown, Step, Text, read
from langchain_bailian_app.display._sources import Source, excerpt
from tests.fixtures import ANSWERS, answer_of, chunks_of, frames_of, merged, recording
from tests.fixtures import read as read_frames
from tests.unit_tests.display.test_html import HOSTILE, message_of, strings

V1 = {"output_version": "v1"}
CALL = {"type": "server_tool_call", "id": "1", "name": "天气", "args": {"城市": "杭州", "n": 2}}
CALLED = Step("天气", [("城市", "杭州"), ("n", "2")])
HIT = {"content": "【文档名】:茶书\n【正文】:茶\n 叶", "referenceIndex": 4, "score": 0.756}


def message_from(name: str, markers: MarkerMode = "strip") -> AIMessage:
    return message_from_answer(answer_of(recording(name), markers=markers), "app", {})


def blocks(*content: Any, **more: Any) -> AIMessage:
    return AIMessage(list(content), response_metadata=V1 | more)


def result(output: Any, **more: Any) -> dict[str, Any]:
    return {"type": "server_tool_result", "tool_call_id": "1", "output": output, **more}


def rich_text(message: AIMessage, *, colours: bool = False) -> str:
    system: Any = "standard" if colours else None
    console = Console(file=io.StringIO(), width=60, force_terminal=colours, color_system=system)
    console.print(AnswerView(message))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([], []),
        (["茶"], [Text("茶", {})]),
        ([{"type": "reasoning", "reasoning": "想"}], [Reasoning("想")]),
        ([CALL], [CALLED]),
        ([{**CALL, "type": "tool_call"}], [CALLED]),
        ([{**CALL, "args": None}], [Step("天气", [])]),
        ([{"type": "tool_call_chunk", "args": '{"a'}], [Step("step", [("", '{"a')])]),
        ([result(None)], [Step("result", [], done=True)]),
        ([{"type": "image", "base64": "x"}], [Other("image", "")]),
        ([{"type": "file", "mime_type": "a/b"}], [Other("file · a/b", "")]),
        ([{"type": "non_standard", "value": {"x": 1}}], [Other("non_standard", '{\n  "x": 1\n}')]),
        ([{"type": "mystery", "x": 1}], [Other("mystery", '{\n  "type": "mystery",\n  "x": 1\n}')]),
        ([{"x": 1}], [Other("unknown", '{\n  "x": 1\n}')]),
        ([7, None], [Other("unknown", "7"), Other("unknown", "")]),
        ([{"type": "text"}], [Text("", {})]),
    ],
)
def test_each_kind_of_block_has_a_form(content: list[Any], expected: list[Any]) -> None:
    assert read(AIMessage.model_construct(content=content, response_metadata=V1)).parts == expected


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ("晴", "晴"),
        (["[1-2] 淡茶", "[1-3] 浓茶"], "[1-2] 淡茶\n[1-3] 浓茶"),
        ({"度": 21}, '{\n  "度": 21\n}'),
        ([HIT, "茶"], json.dumps([HIT, "茶"], ensure_ascii=False, indent=2)),
        ([], "[]"),
        (None, ""),
        ({1, 2}, "{1, 2}"),
        ("x" * 4000, "x" * 4000),
        ("x" * 4001, "x" * 4000 + "… (1 more characters)"),
        ("x" * 5000, "x" * 4000 + "… (1,000 more characters)"),
    ],
)
def test_a_result_is_shown_with_its_call(output: Any, shown: str) -> None:
    parts = read(blocks(CALL, "茶", result(output))).parts

    assert parts == [Step("天气", CALLED.args, done=True, result=shown), Text("茶", {})]


def test_a_retrieval_is_a_list_of_hits() -> None:
    (step,) = read(blocks(CALL, result([HIT]))).parts

    hit = Source(4, "茶书", ["score 0.76"], "茶\n 叶", "", [])
    assert step == Step("天气", CALLED.args, done=True, hits=[hit])


def test_a_hit_has_all_that_is_known_of_it() -> None:
    told = {"content": "茶", "title": "第一章", "dataName": "茶书", "images": ["i"]}
    (step,) = read(blocks(result([told | {"page_number": [3]}]))).parts

    assert isinstance(step, Step)
    assert step.hits == [Source(None, "第一章", ["茶书", "p. 3"], "茶", "", ["i"])]


@pytest.mark.parametrize(("length", "end"), [(160, ""), (161, "…")])
def test_an_excerpt_is_one_line_of_up_to_160_characters(length: int, end: str) -> None:
    text = f"茶\n {'叶' * (length - 2)}"

    assert excerpt(text) == f"茶 {'叶' * 158}{end}"


def test_line_breaks_become_plain_ones_and_no_code_point_moves() -> None:
    """The places of citations are counted in code points."""
    (part,) = read(blocks("一\r\n二\r三\n四")).parts

    assert part == Text("一 \n二\n三\n四", {})


def test_results_belong_to_their_own_calls() -> None:
    other = {**CALL, "id": "2", "name": "茶"}
    late = result("b", tool_call_id="2", id="1", status="error")
    parts = read(blocks(CALL, other, late, result("a"), result("c"))).parts

    assert [(part.name, part.result, part.failed) for part in parts if isinstance(part, Step)] == [
        ("天气", "a", False),
        ("茶", "b", True),
        ("result", "c", False),
    ]


@pytest.mark.parametrize("markers", ["strip", "bracket", "keep"])
def test_written_markers_are_not_shown_twice(markers: MarkerMode) -> None:
    message = message_of("茶<ref>[2]</ref><ref>[1]</ref>。<ref>[9]</ref>水<ref>[1]</ref>", markers)
    (text,) = read(message).parts

    unknown = {"strip": "", "bracket": "[9]", "keep": "<ref>[9]</ref>"}[markers]
    assert text == Text(f"茶。{unknown}水", {1: [2, 1], 3 + len(unknown): [1]})
    assert str(AnswerView(message)).startswith(
        f"茶[2][1]。{unknown}水[1]\n\nSources\n  [1] 第1章 · 茶书"
    )


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ({}, Source(1, "untitled", [], "", "", [])),
        ({"title": "T", "url": "u", "cited_text": "c"}, Source(1, "T", [], "c", "u", [])),
        ({"url": "u"}, Source(1, "u", [], "", "u", [])),
        ({"extras": {"reference_index": 4, "doc_name": "D"}}, Source(4, "D", [], "", "", [])),
        (
            {"title": "T", "extras": {"doc_name": "D", "page_number": [3, 4], "score": 0.5}},
            Source(1, "T", ["D", "p. 3, 4", "score 0.50"], "", "", []),
        ),
        ({"title": "T", "extras": {"images": ["i", 7]}}, Source(1, "T", [], "", "", ["i", "7"])),
        ({"extras": {"reference_index": "x", "images": "i", "page_number": 3, "score": [1]}},
         Source(1, "untitled", ["[1]"], "", "", [])),
        ({"extras": ["x"], "title": ["T"]}, Source(1, '["T"]', [], "", "", [])),
        ({"title": "D", "extras": {"doc_name": "D"}}, Source(1, "D", [], "", "", [])),
        ({"extras": {"reference_index": 0}}, Source(0, "untitled", [], "", "", [])),
        ({"extras": {"reference_index": 10**9}}, Source(1, "untitled", [], "", "", [])),
        ({"extras": {"reference_index": -1}}, Source(1, "untitled", [], "", "", [])),
    ],
)  # fmt: skip
def test_a_citation_has_a_source(note: dict[str, Any], expected: Source) -> None:
    annotations = [{"type": "citation", **note}, {"type": "other"}, "x"]

    shown = read(blocks({"type": "text", "text": "茶", "annotations": annotations}))

    assert shown.sources == [expected]
    assert shown.parts == [Text("茶", {1: [expected.number]})]


def test_citations_without_numbers_are_counted() -> None:
    notes = [{"type": "citation", "title": title, "end_index": 0} for title in ("a", "b", "a")]

    shown = read(blocks({"type": "text", "text": "茶", "annotations": notes}))

    assert [(source.number, source.title) for source in shown.sources] == [(1, "a"), (2, "b")]
    assert shown.parts == [Text("茶", {0: [1, 2]})]


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, []),
        ({"finish_reason": "stop", "model_name": "app", "app_id": "app"}, []),
        ({"finish_reason": "null", "model_name": "qwen", "app_id": "app"}, ["qwen"]),
        ({"finish_reason": "length", "request_id": "r"}, ["finish reason: length", "request r"]),
        ({"model_usage": [{"model_id": "a"}], "model_name": "a"}, ["a"]),
        (
            {"model_usage": [{"model_id": "a", "input_tokens": 1000, "output_tokens": 2}, {}]},
            ["a: 1,000 tokens in, 2 out", "model: ? tokens in, ? out"],
        ),
        ({"model_usage": 7, "request_id": ["r"]}, ['request ["r"]']),
    ],
)
def test_usage_is_one_line(metadata: dict[str, Any], expected: list[str]) -> None:
    usage = {"input_tokens": 1234, "output_tokens": 5, "total_tokens": 1239}

    assert read(AIMessage("", response_metadata=metadata)).usage == expected
    assert read(AIMessage("", response_metadata=metadata, usage_metadata=usage)).usage == [
        "1,234 tokens in, 5 out",
        *expected,
    ]


def test_plain_text_shows_everything_in_order() -> None:
    message = blocks(
        {"type": "reasoning", "reasoning": "想\n想"},
        CALL,
        result([HIT]),
        {**CALL, "id": "2", "args": {}},
        "**茶**",
        {"type": "image"},
        request_id="r",
    )

    assert str(AnswerView(message)) == (
        "Reasoning\n  想\n  想\n\n"
        "天气\n  城市: 杭州\n  n: 2\n  [4] 茶书 · score 0.76\n      茶 叶\n\n"
        "天气\n  (no result yet)\n\n"
        "**茶**\n\n"
        "image\n\n"
        "Usage\n  request r"
    )
    assert repr(AnswerView(message)) == "<AnswerView: 5 parts, 0 sources>"


def test_an_empty_message_shows_nothing() -> None:
    assert read(AIMessage("")) == Shown([], [], [])
    assert not str(AnswerView(AIMessage("")))
    assert not rich_text(AIMessage("")).strip()


def test_rich_shows_markdown_with_citations() -> None:
    message = message_of(
        "# 茶\n\n- **叶。**<ref>[1]</ref>\n- `x`<ref>[2]</ref>\n\n[a](http://b)![c](http://d)"
    )

    shown = rich_text(message)

    assert re.search(r"• 叶。\[1\] *\n", shown)
    assert re.search(r"• x\[2\] *\n", shown)
    assert "a (http://b)!c (http://d)" in shown
    assert "\n  [1] 第1章 · 茶书" in shown


def test_rich_shows_a_citation_without_a_place_below_the_text() -> None:
    address = "https://example.com/" + "x" * 120

    assert re.search(r"\n\[2\] *\n", rich_text(message_of(f"<{address}<ref>[2]</ref>{'y' * 120}>")))


def test_without_rich_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.padding", None)
    console = Console(file=io.StringIO())

    with pytest.raises(ModuleNotFoundError, match=r'pip install "langchain-bailian-app\[display\]"'):
        list(AnswerView(AIMessage("茶")).__rich_console__(console, console.options))


@pytest.mark.parametrize("name", ANSWERS)
def test_the_sum_of_chunks_looks_as_the_message_does(name: str) -> None:
    deltas, answer = read_frames(frames_of(recording(name)))
    chunks = chunks_of(deltas, answer)

    assert str(AnswerView(merged(chunks))) == str(AnswerView(message_from(name)))
    for count in range(1, len(chunks)):
        half = AnswerView(merged(chunks[:count]))
        assert half._repr_html_()
        assert isinstance(str(half), str)


def test_a_message_as_v1_looks_the_same() -> None:
    message = message_from("markers-split.sse")
    v1 = AIMessage(
        [dict(block) for block in message.content_blocks],
        response_metadata=message.response_metadata | V1,
        usage_metadata=message.usage_metadata,
    )

    assert AnswerView(v1)._repr_html_() == AnswerView(message)._repr_html_()


class Broken(AIMessage):
    """A message whose provider's translator fails."""

    @property
    def content_blocks(self) -> Any:
        raise KeyError


@pytest.mark.parametrize("content", ["茶", ["茶"], [{"type": "text", "text": "茶"}]])
def test_a_message_that_has_no_blocks_is_shown_as_it_is(content: Any) -> None:
    assert str(AnswerView(Broken(content))) == "茶"


def test_a_block_that_cannot_be_read_is_shown_as_it_is() -> None:
    endless: list[Any] = []
    endless.append(endless)

    class Odd(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            if key == "text":
                raise KeyError(key)
            return super().get(key, default)

    (part,) = read(
        AIMessageChunk.model_construct(
            content=[Odd(type="text", text="茶")], response_metadata={"output_version": "v1"}
        )
    ).parts
    (step,) = read(
        AIMessageChunk.model_construct(content=[result(endless)], response_metadata=V1)
    ).parts

    assert isinstance(part, Other)
    assert part.kind == "unreadable"
    assert step == Step("result", [], done=True, result="[[[[[[[...]]]]]]]")


@given(strings)
def test_no_text_commands_a_terminal(text: str) -> None:
    extras = {"reference_index": 1, "doc_name": text, "images": [text]}
    note = {"type": "citation", "title": text, "url": text, "cited_text": text, "extras": extras}
    message = blocks(
        {"type": "reasoning", "reasoning": text},
        {**CALL, "name": text, "args": {text: text}},
        result(text),
        {"type": text, "value": text},
        {"type": "text", "text": text, "annotations": [note]},
        request_id=text,
    )

    for shown in (str(AnswerView(message)), repr(AnswerView(message)), rich_text(message)):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    colours = rich_text(message, colours=True)
    assert not re.search("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]", colours)
    assert not re.sub("\x1b\\[[0-9;]*m", "", colours).count("\x1b")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_is_lost_in_a_terminal(hostile: str) -> None:
    if hostile.startswith("```lotus"):
        pytest.skip("the language of a code block is not shown")
    message = blocks({"type": "reasoning", "reasoning": hostile}, CALL, result(hostile), hostile)

    assert str(AnswerView(message)).count("lotus") == 3
    assert rich_text(message).count("lotus") >= 3


def test_the_nodes_of_a_workflow_are_steps() -> None:
    answer = answer_of(recording("workflow-full-thoughts.sse"))
    shown = read(message_from_answer(answer, "app", {}))

    steps = [part for part in shown.parts if isinstance(part, Step)]
    assert [(step.name, step.args, step.done, step.result) for step in steps] == [
        ("开始", [("type", "Start"), ("exec_time", "0ms")], True, ""),
        ("写诗", [("type", "LLM"), ("exec_time", "900ms")], True, "春眠不觉晓"),
        ("写信", [("type", "LLM"), ("exec_time", "800ms")], True, "见字如面"),
        ("结束", [("type", "End"), ("exec_time", "1ms")], True, ""),
    ]


def test_nodes_that_paused_or_failed_say_so() -> None:
    def steps(name: str) -> list[Step]:
        message = message_from_answer(answer_of(recording(name)), "app", {})
        return [part for part in read(message).parts if isinstance(part, Step)]

    assert ("status", "paused") in steps("workflow-paused.sse")[1].args
    assert steps("workflow-failed.sse")[1].failed


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
def test_a_node_is_done_when_it_does_not_execute_and_shows_any_other_status_than_success(
    status: str, args: list[tuple[str, str]], done: bool, failed: bool
) -> None:
    node = {"node_id": "LLM_a", "status": status, "output": "茶"}

    (step,) = read(blocks({"type": "non_standard", "value": node})).parts

    assert step == Step("LLM_a", args, done=done, failed=failed, result="茶")
