"""Tests for the parser of tool calls in the text of an answer."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_bailian_app._answer.events import ToolCall
from langchain_bailian_app._answer.tool_calls import ToolCallParser

if TYPE_CHECKING:
    from collections.abc import Iterable

TOOL_NAMES = ["add", "search"]
ADD_TEXT = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
ADD_CALL = ("add", {"a": 1, "b": 2})
TEXTS = [
    "没有调用。\n",
    f"我来算。\n\n{ADD_TEXT}",
    f"{ADD_TEXT}\n{ADD_TEXT}\n\n好了。\n",
    "a < b, <tool, <tool_call",
    '<tool_call>{"name": "add", "arguments": {"a": "</tool_call>"}}</tool_call>x',
    '<tool_call>{"name": "add", "arguments": {"a": 1}</tool_call> 然后 ' + ADD_TEXT,
    '<tool_call>{"name": "add"',
    '<tool_call>{"name": "search"} 没有写完',
    '<tool_call>{"name": "search"}\n\n结果很重要。\n' + ADD_TEXT + "尾",
    '<tool_call>\n```json\n{"name": "search"}\n```\n说明',
    '<tool_call>{"name": "search"}\n</tool_cal',
    "The tag `<tool_call>` marks a call. <tool_call> 标签 <tool_call>x <tool_call>",
]


def parse(pieces: Iterable[str], **kwargs: Any) -> list[str | ToolCall]:
    """Return the calls and the joined text between them, in order."""
    parser = ToolCallParser(TOOL_NAMES, **kwargs)
    parts: list[str | ToolCall] = []
    for part in [part for piece in pieces for part in parser.feed(piece)] + parser.end():
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
    return parts


def simplify(parts: list[str | ToolCall]) -> list[Any]:
    return [part if isinstance(part, str) else (part.name, part.args) for part in parts]


def find_problems(text: str, **kwargs: Any) -> list[str | None]:
    return [part.problem for part in parse([text], **kwargs) if isinstance(part, ToolCall)]


def test_calls_are_taken_out_of_the_text() -> None:
    assert simplify(parse([f"我来算。\n\n{ADD_TEXT}\n{ADD_TEXT}"])) == ["我来算。", ADD_CALL, ADD_CALL]


def test_text_between_calls_keeps_its_whitespace() -> None:
    assert simplify(parse([f"一\n\n{ADD_TEXT}\n二 {ADD_TEXT}\n"])) == [
        "一",
        ADD_CALL,
        "\n\n\n二",
        ADD_CALL,
    ]


@given(st.sampled_from(TEXTS), st.lists(st.integers(0, 200)))
def test_calls_do_not_depend_on_how_the_text_is_cut(text: str, cuts: list[int]) -> None:
    edges = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]

    assert simplify(parse(pieces)) == simplify(parse([text])) == simplify(parse(text))


@pytest.mark.parametrize("text", [TEXTS[0], TEXTS[3], TEXTS[-1]])
def test_a_text_without_calls_is_unchanged(text: str) -> None:
    assert parse([text]) == [text]


def test_prose_after_an_unclosed_call_is_kept() -> None:
    call = '<tool_call>{"name": "search"}'

    assert simplify(parse([f"{call}\n\n结果很重要。\n{ADD_TEXT}尾"])) == [
        ("search", {}),
        "\n\n结果很重要。",
        ADD_CALL,
        "\n尾",
    ]
    assert simplify(parse([f"{call}\n</tool_cal"])) == [("search", {})]


def test_a_closing_tag_in_an_argument_is_part_of_it() -> None:
    call = '<tool_call>{"name": "add", "arguments": {"a": "</tool_call>"}}</tool_call>'

    assert simplify(parse([f"{call}尾"])) == [("add", {"a": "</tool_call>"}), "尾"]


def test_the_beginning_of_a_tag_before_a_call_is_text() -> None:
    assert simplify(parse([f"<tool{ADD_TEXT}"])) == ["<tool", ADD_CALL]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param('{"name": "add"', [], id="breaks off"),
        pytest.param('{"name": "add", "arguments": {"a": "x', [], id="breaks off in a string"),
        pytest.param('{"a": "x</tool_call>好了。</tool_call>', ["好了。</tool_call>"], id="no end"),
        pytest.param(
            '{"a": "x</tool_call>他说"好。</tool_call>尾', ['他说"好。</tool_call>尾'], id="a quote"
        ),
    ],
)
def test_an_incomplete_call_extends_at_most_to_its_closing_tag(text: str, expected: list[str]) -> None:
    call, *following = parse([f"<tool_call>{text}"])

    assert isinstance(call, ToolCall)
    assert call.text == f"<tool_call>{text.partition('</tool_call>')[0]}</tool_call>"
    assert call.problem is not None
    assert following == expected


def test_a_lone_surrogate_is_replaced() -> None:
    body = '{"name": "add", "arguments": {"a": "\\ud83d", "text": "\\ud83d"}}'

    assert simplify(parse([f"<tool_call>{body}</tool_call>"])) == [
        ("add", {"a": "\ufffd", "text": "\ufffd"})
    ]


def test_text_is_held_back_only_while_it_may_be_a_call() -> None:
    parser = ToolCallParser(TOOL_NAMES)
    assert parser.feed("一 <to") == ["一"]
    assert parser.feed("p>") == [" <top>"]
    assert parser.feed("二 ") == ["二"]
    assert parser.end() == [" "]


def test_a_call_is_emitted_as_soon_as_it_is_closed() -> None:
    parser = ToolCallParser(TOOL_NAMES)
    parts = parser.feed(f"{ADD_TEXT}\n<tool_call>")

    assert simplify(parts) == [ADD_CALL]


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
def test_common_variants_of_a_call_are_accepted(body: str) -> None:
    assert simplify(parse([f"<tool_call>{body}</tool_call>"])) == [ADD_CALL]
    assert find_problems(f"<tool_call>{body}</tool_call>") == [None]


def test_a_call_without_arguments_has_none() -> None:
    assert simplify(parse(['<tool_call>{"name": "add"}</tool_call>'])) == [("add", {})]
    null = '<tool_call>{"name": "add", "arguments": null}</tool_call>'
    assert (simplify(parse([null])), find_problems(null)) == ([("add", {})], [None])


def test_several_calls_may_share_their_tags_or_lack_some() -> None:
    call = '{"name": "add", "arguments": {"a": 1, "b": 2}}'

    assert simplify(parse([f"<tool_call>{call}\n{call}</tool_call>"])) == [ADD_CALL, ADD_CALL]
    assert simplify(parse([f"<tool_call>{call}\n<tool_call>{call}</tool_call>"])) == [
        ADD_CALL,
        ADD_CALL,
    ]
    assert simplify(parse([f"<tool_call>{call}\n好了。"])) == [ADD_CALL, "\n好了。"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            '{"name": "mul", "arguments": {}}',
            "unknown function 'mul'; available functions: add, search",
        ),
        ('{"arguments": {}}', "invalid tool call: expected a JSON object with `name` and `arguments`"),
        ("[1]", "invalid tool call: expected a JSON object with `name` and `arguments`"),
        (
            '{"name": "", "arguments": {}}',
            "invalid tool call: expected a JSON object with `name` and `arguments`",
        ),
        (
            '{"name": [5], "arguments": {}}',
            "invalid tool call: expected a JSON object with `name` and `arguments`",
        ),
        ('{"name": "add", "args": {"a": 1}}', "missing `arguments` in the call to 'add': got ['args']"),
        ('{"name": "add", "a": 1, "b": 2}', "missing `arguments` in the call to 'add': got ['a', 'b']"),
        ('{"name": "add", "arguments": [1]}', "invalid `arguments` of 'add': expected a JSON object"),
        ('{"name": "add", "arguments": {"a": 1}', "cannot parse a tool call: incomplete JSON"),
        ('{"name": add}', "cannot parse a tool call: not valid JSON"),
        ("add(1, 2)", "cannot parse a tool call: no JSON found"),
        ("<function=add>\n", "cannot parse a tool call: no JSON found"),
        (
            "{'name': 'add', 'arguments': {}}",
            "invalid tool call: expected a JSON object with `name` and `arguments`",
        ),
    ],
)
def test_an_invalid_call_has_a_problem_and_keeps_its_text(body: str, problem: str) -> None:
    text = f"<tool_call>{body}</tool_call>"
    (call,) = [part for part in parse([text]) if isinstance(part, ToolCall)]

    assert call.problem is not None
    assert call.problem.startswith(problem)
    assert call.text == text
    assert isinstance(call.args, dict)


@pytest.mark.parametrize("size", range(len(ADD_TEXT) - len("</tool_call>") - 2))
def test_a_truncated_call_is_never_valid(size: int) -> None:
    truncated = ADD_TEXT[: size + 1]

    assert not any(isinstance(part, ToolCall) and part.problem is None for part in parse([truncated]))


def test_a_broken_call_does_not_affect_the_next_one() -> None:
    broken = '<tool_call>{"name": "add", "arguments": {"a": "x}</tool_call>'

    assert find_problems(f"{broken}\n好了。{ADD_TEXT}") == [
        "cannot parse a tool call: incomplete JSON",
        None,
    ]


def test_only_the_first_call_is_valid_if_one_call_is_allowed() -> None:
    assert find_problems(ADD_TEXT + ADD_TEXT) == [None, None]
    assert find_problems(ADD_TEXT + ADD_TEXT, only_one=True) == [
        None,
        "only one function may be called at a time",
    ]


def test_calls_have_distinct_ids_and_indexes() -> None:
    calls = [part for part in parse([ADD_TEXT + ADD_TEXT]) if isinstance(part, ToolCall)]

    assert len({call.id for call in calls}) == 2
    assert [call.index for call in calls] == [0, 1]


def test_a_thousand_calls_are_parsed() -> None:
    assert len(parse([ADD_TEXT * 1_000])) == 1_000
    assert len(parse(['<tool_call>{"name": "add"}' * 300])) == 300


WORDS = st.text(
    st.characters(exclude_characters="<", exclude_categories=["Cs"])
)  # without markers, which are removed


@given(st.dictionaries(WORDS, WORDS | st.integers() | st.none() | st.lists(WORDS)))
def test_any_arguments_round_trip(arguments: dict[str, Any]) -> None:
    call = json.dumps({"name": "add", "arguments": arguments}, ensure_ascii=False)
    (parsed,) = parse([f"<tool_call>{call}</tool_call>"])

    assert isinstance(parsed, ToolCall)
    assert parsed.args == arguments
