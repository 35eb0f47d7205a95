"""Calls in the text of an answer: found in pieces cut anywhere, read leniently, checked."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_bailian_app._answer.events import ToolCall
from langchain_bailian_app._answer.tool_calls import CallReader

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = ["add", "search"]
ADD = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
SUM = ("add", {"a": 1, "b": 2})
TEXTS = [
    "没有调用。\n",
    f"我来算。\n\n{ADD}",
    f"{ADD}\n{ADD}\n\n好了。\n",
    "a < b, <tool, <tool_call",
    '<tool_call>{"name": "add", "arguments": {"a": "</tool_call>"}}</tool_call>x',
    '<tool_call>{"name": "add", "arguments": {"a": 1}</tool_call> 然后 ' + ADD,
    '<tool_call>{"name": "add"',
    '<tool_call>{"name": "search"} 没有写完',
    '<tool_call>{"name": "search"}\n\n结果很重要。\n' + ADD + "尾",
    '<tool_call>\n```json\n{"name": "search"}\n```\n说明',
    '<tool_call>{"name": "search"}\n</tool_cal',
    "The tag `<tool_call>` marks a call. <tool_call> 标签 <tool_call>x <tool_call>",
]


def read(pieces: Iterable[str], **kwargs: Any) -> list[str | ToolCall]:
    """Return text, joined, and calls in their order."""
    reader = CallReader(NAMES, **kwargs)
    parts: list[str | ToolCall] = []
    for part in [part for piece in pieces for part in reader.feed(piece)] + reader.end():
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
    return parts


def shown(parts: list[str | ToolCall]) -> list[Any]:
    return [part if isinstance(part, str) else (part.name, part.args) for part in parts]


def problems(text: str, **kwargs: Any) -> list[str | None]:
    return [part.problem for part in read([text], **kwargs) if isinstance(part, ToolCall)]


def test_calls_are_taken_out_of_the_text() -> None:
    assert shown(read([f"我来算。\n\n{ADD}\n{ADD}"])) == ["我来算。", SUM, SUM]


def test_text_between_calls_keeps_its_distance() -> None:
    assert shown(read([f"一\n\n{ADD}\n二 {ADD}\n"])) == ["一", SUM, "\n\n\n二", SUM]


@given(st.sampled_from(TEXTS), st.lists(st.integers(0, 200)))
def test_it_does_not_matter_how_the_text_is_cut(text: str, cuts: list[int]) -> None:
    edges = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]

    assert shown(read(pieces)) == shown(read([text])) == shown(read(text))


@pytest.mark.parametrize("text", [TEXTS[0], TEXTS[3], TEXTS[-1]])
def test_a_text_without_calls_stays_as_it_is(text: str) -> None:
    assert read([text]) == [text]


def test_prose_behind_a_call_that_is_not_closed_stays() -> None:
    call = '<tool_call>{"name": "search"}'

    assert shown(read([f"{call}\n\n结果很重要。\n{ADD}尾"])) == [
        ("search", {}),
        "\n\n结果很重要。",
        SUM,
        "\n尾",
    ]
    assert shown(read([f"{call}\n</tool_cal"])) == [("search", {})]


def test_a_closing_tag_in_an_argument_is_part_of_it() -> None:
    call = '<tool_call>{"name": "add", "arguments": {"a": "</tool_call>"}}</tool_call>'

    assert shown(read([f"{call}尾"])) == [("add", {"a": "</tool_call>"}), "尾"]


def test_the_beginning_of_a_tag_before_a_call_is_text() -> None:
    assert shown(read([f"<tool{ADD}"])) == ["<tool", SUM]


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        pytest.param('{"name": "add"', [], id="breaks off"),
        pytest.param('{"name": "add", "arguments": {"a": "x', [], id="breaks off in a string"),
        pytest.param('{"a": "x</tool_call>好了。</tool_call>', ["好了。</tool_call>"], id="no end"),
        pytest.param(
            '{"a": "x</tool_call>他说"好。</tool_call>尾', ['他说"好。</tool_call>尾'], id="a quote"
        ),
    ],
)
def test_a_call_that_does_not_end_takes_no_more_than_up_to_its_closing_tag(
    text: str, rest: list[str]
) -> None:
    call, *others = read([f"<tool_call>{text}"])

    assert isinstance(call, ToolCall)
    assert call.text == f"<tool_call>{text.partition('</tool_call>')[0]}</tool_call>"
    assert call.problem is not None
    assert others == rest


def test_half_a_surrogate_pair_is_replaced() -> None:
    body = '{"name": "add", "arguments": {"a": "\\ud83d", "text": "\\ud83d"}}'

    assert shown(read([f"<tool_call>{body}</tool_call>"])) == [
        ("add", {"a": "\ufffd", "text": "\ufffd"})
    ]


def test_text_is_not_held_back_longer_than_it_may_be_a_call() -> None:
    reader = CallReader(NAMES)
    assert reader.feed("一 <to") == ["一"]
    assert reader.feed("p>") == [" <top>"]
    assert reader.feed("二 ") == ["二"]
    assert reader.end() == [" "]


def test_a_call_is_told_as_soon_as_it_is_closed() -> None:
    reader = CallReader(NAMES)
    parts = reader.feed(f"{ADD}\n<tool_call>")

    assert shown(parts) == [SUM]


@pytest.mark.parametrize(
    "body",
    [
        '```json\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n```',
        '{"name": "add", "parameters": {"a": 1, "b": 2}}',
        '{"name": "add", "arguments": "{\\"a\\": 1, \\"b\\": 2}"}',
        '{"name": "add", "arguments": {"a": 1, "b": 2,},}',
        '[{"name": "add", "arguments": {"a": 1, "b": 2}}]',
        '{"name": "add", "arguments": {"a": 1, "b": 2<ref>[1]</ref>}}',
    ],
)
def test_what_is_meant_is_read(body: str) -> None:
    assert shown(read([f"<tool_call>{body}</tool_call>"])) == [SUM]
    assert problems(f"<tool_call>{body}</tool_call>") == [None]


def test_a_call_without_arguments_has_none() -> None:
    assert shown(read(['<tool_call>{"name": "add"}</tool_call>'])) == [("add", {})]
    null = '<tool_call>{"name": "add", "arguments": null}</tool_call>'
    assert (shown(read([null])), problems(null)) == ([("add", {})], [None])


def test_several_calls_may_share_their_tags_or_lack_some() -> None:
    call = '{"name": "add", "arguments": {"a": 1, "b": 2}}'

    assert shown(read([f"<tool_call>{call}\n{call}</tool_call>"])) == [SUM, SUM]
    assert shown(read([f"<tool_call>{call}\n<tool_call>{call}</tool_call>"])) == [SUM, SUM]
    assert shown(read([f"<tool_call>{call}\n好了。"])) == [SUM, "\n好了。"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('{"name": "mul", "arguments": {}}', "there is no function 'mul' to call, only add, search"),
        ('{"arguments": {}}', "a call is no JSON object with `name` and `arguments`"),
        ("[1]", "a call is no JSON object with `name` and `arguments`"),
        ('{"name": "", "arguments": {}}', "a call is no JSON object with `name` and `arguments`"),
        ('{"name": [5], "arguments": {}}', "a call is no JSON object with `name` and `arguments`"),
        ('{"name": "add", "args": {"a": 1}}', "the call of 'add' has no `arguments`, but ['args']"),
        ('{"name": "add", "a": 1, "b": 2}', "the call of 'add' has no `arguments`, but ['a', 'b']"),
        ('{"name": "add", "arguments": [1]}', "the `arguments` of 'add' are no JSON object"),
        ('{"name": "add", "arguments": {"a": 1}', "a call cannot be read: the JSON breaks off"),
        ('{"name": add}', "a call cannot be read: not valid JSON"),
        ("add(1, 2)", "a call cannot be read: there is no JSON in it"),
        ("<function=add>\n", "a call cannot be read: there is no JSON in it"),
        ("{'name': 'add', 'arguments': {}}", "a call is no JSON object with `name` and `arguments`"),
    ],
)
def test_what_cannot_be_run_says_why_and_is_kept_as_it_stands(body: str, problem: str) -> None:
    text = f"<tool_call>{body}</tool_call>"
    (call,) = [part for part in read([text]) if isinstance(part, ToolCall)]

    assert call.problem is not None
    assert call.problem.startswith(problem)
    assert call.text == text
    assert isinstance(call.args, dict)


@pytest.mark.parametrize("size", range(len(ADD) - len("</tool_call>") - 2))
def test_a_call_that_breaks_off_is_never_whole(size: int) -> None:
    begun = ADD[: size + 1]

    assert not any(isinstance(part, ToolCall) and part.problem is None for part in read([begun]))


def test_a_broken_call_does_not_take_the_next_one_with_it() -> None:
    broken = '<tool_call>{"name": "add", "arguments": {"a": "x}</tool_call>'

    assert problems(f"{broken}\n好了。{ADD}") == ["a call cannot be read: the JSON breaks off", None]


def test_of_several_calls_the_first_is_run_if_only_one_may_be_made() -> None:
    assert problems(ADD + ADD) == [None, None]
    assert problems(ADD + ADD, only_one=True) == [None, "only one function may be called at a time"]


def test_calls_are_told_apart() -> None:
    calls = [part for part in read([ADD + ADD]) if isinstance(part, ToolCall)]

    assert len({call.id for call in calls}) == 2
    assert [call.index for call in calls] == [0, 1]


def test_a_thousand_calls_are_no_trouble() -> None:
    assert len(read([ADD * 1_000])) == 1_000
    assert len(read(['<tool_call>{"name": "add"}' * 300])) == 300


WORDS = st.text(
    st.characters(exclude_characters="<", exclude_categories=["Cs"])
)  # markers are taken out


@given(st.dictionaries(WORDS, WORDS | st.integers() | st.none() | st.lists(WORDS)))
def test_any_arguments_come_back(arguments: dict[str, Any]) -> None:
    call = json.dumps({"name": "add", "arguments": arguments}, ensure_ascii=False)
    (found,) = read([f"<tool_call>{call}</tool_call>"])

    assert isinstance(found, ToolCall)
    assert found.args == arguments
