"""Tests of tools, calls and results in the messages sent to an application."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import invalid_tool_call, tool_call

from langchain_bailian_app._answer.answer import Answer
from langchain_bailian_app._answer.tool_calls import ToolCallParser
from langchain_bailian_app.chat_models._tool_prompt import (
    ToolPrompt,
    render_tool_messages,
    tool_prompt_from_kwargs,
)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def search(query: str) -> str:
    """Search."""
    return query


QUESTION = HumanMessage("一加二是多少？")
CALL = tool_call(name="add", args={"a": 1, "b": 2}, id="1")
CALL_TEXT = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'


def make_prompt(**keywords: Any) -> ToolPrompt:
    prompt = tool_prompt_from_kwargs({"tools": [add, search]} | keywords)
    assert prompt is not None
    return prompt


def render(*messages: BaseMessage) -> list[tuple[str, Any]]:
    return [(message.type, message.content) for message in render_tool_messages(messages)]


def response_text(**fields: Any) -> str:
    return f"<tool_response>\n{json.dumps(fields, ensure_ascii=False)}\n</tool_response>"


# -- descriptions of tools ---------------------------------------------------------------------------


def test_tools_are_described_after_the_callers_system_message() -> None:
    first, question = make_prompt().add_instructions([SystemMessage("规则"), QUESTION])

    assert isinstance(first, SystemMessage)
    assert first.text.startswith("规则\n\n# 工具\n\n")
    assert question == QUESTION
    tools = first.text.partition("<tools>\n")[2].partition("\n</tools>")[0].splitlines()
    assert [json.loads(tool)["function"]["name"] for tool in tools] == ["add", "search"]
    assert '"Add two numbers."' in tools[0]


@pytest.mark.parametrize(
    ("keywords", "chinese", "english"),
    [
        (
            {},
            ("可以一次写几个这样的块，调用几个函数。", "不需要函数时，直接回答。"),
            (
                "You can write several such blocks to call several functions at once.",
                "If no function is needed, just answer.",
            ),
        ),
        (
            {"tool_choice": "any", "parallel_tool_calls": True},
            ("可以一次写几个这样的块，调用几个函数。", "这一次必须调用函数。"),
            (
                "You can write several such blocks to call several functions at once.",
                "This time you must call a function.",
            ),
        ),
        (
            {"tool_choice": "add", "parallel_tool_calls": False},
            ("一次只能调用一个函数。", "这一次必须调用函数 add。"),
            ("Call only one function at a time.", "This time you must call the function add."),
        ),
    ],
)
def test_the_number_of_calls_is_stated_after_the_format_of_a_call(
    keywords: dict[str, Any], chinese: tuple[str, str], english: tuple[str, str]
) -> None:
    prompt = make_prompt(**keywords)

    for question, lines in (("一加二？", chinese), ("1 + 2?", english)):
        text = prompt.add_instructions([HumanMessage(question)])[0].text
        assert tuple(text.rpartition("</tool_call>\n\n")[2].splitlines()[:-1]) == lines


def test_descriptions_are_not_escaped() -> None:
    tool = {
        "name": "add",
        "description": "两数相加",
        "parameters": {"type": "object", "properties": {}},
    }

    assert '"description": "两数相加"' in make_prompt(tools=[tool]).add_instructions([QUESTION])[0].text


def test_messages_without_a_question_are_left_to_the_model() -> None:
    assert make_prompt().add_instructions([])[0].text.startswith("# Tools\n\nBesides your")


@pytest.mark.parametrize(
    ("question", "sentence"),
    [("一加二？", "这一次必须调用函数 add。"), ("1 + 2?", "This time you must call the function add.")],
)
def test_instructions_are_in_the_language_of_the_question(question: str, sentence: str) -> None:
    messages = [
        HumanMessage(question),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage("三", tool_call_id="1"),
    ]

    assert sentence in make_prompt(tool_choice="add").add_instructions(messages)[0].text


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, "auto"),
        (False, "auto"),
        ({"type": "any"}, "any"),
        ("auto", "auto"),
        ("any", "any"),
        ("required", "any"),
        (True, "any"),
        ("add", "add"),
        ({"type": "function", "function": {"name": "add"}}, "add"),
        ({"type": "tool", "name": "add"}, "add"),
    ],
)
def test_tool_choice_accepts_every_common_format(choice: Any, expected: str) -> None:
    assert make_prompt(tool_choice=choice).choice == expected


@pytest.mark.parametrize(
    "choice", ["sub", {"type": "function"}, {"function": ["add"]}, ["add"], 1.5, ""]
)
def test_an_invalid_tool_choice_is_rejected_and_quoted(choice: Any) -> None:
    message = (
        "invalid `tool_choice`: expected 'auto', 'any', 'none' or one of ['add', 'search'], "
        f"got {choice!r}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        make_prompt(tool_choice=choice)


def test_tools_that_a_provider_runs_are_rejected() -> None:
    with pytest.raises(ValueError, match="'web_search'}: expected a function"):
        make_prompt(tools=[add, {"type": "web_search"}])


def test_a_system_message_of_blocks_keeps_its_blocks() -> None:
    content: list[Any] = [{"type": "text", "text": "规则"}, {"type": "image", "url": "https://a/b.png"}]
    first, _ = make_prompt().add_instructions([SystemMessage(content), QUESTION])

    assert first.content[:2] == content
    assert first.content[2] == {
        "type": "text",
        "text": f"\n\n{make_prompt().add_instructions([QUESTION])[0].text}",
    }


def test_a_question_may_be_a_chat_message() -> None:
    assert "# 工具" in make_prompt().add_instructions([ChatMessage("一加二？", role="user")])[0].text


def test_without_tools_or_with_choice_none_there_is_no_prompt() -> None:
    assert tool_prompt_from_kwargs({}) is None
    assert tool_prompt_from_kwargs({"tools": []}) is None
    assert tool_prompt_from_kwargs({"tools": [add], "tool_choice": "none"}) is None


def test_only_the_tool_that_must_be_called_may_be_called() -> None:
    assert make_prompt(tool_choice="search").allowed_names == ["search"]
    assert make_prompt(tool_choice="any").allowed_names == ["add", "search"]


def test_a_second_call_is_rejected_without_parallel_calls() -> None:
    prompt = make_prompt(parallel_tool_calls=False)

    assert [call.problem for call in parse_answer(f"{CALL_TEXT}{CALL_TEXT}", prompt).tool_calls] == [
        None,
        "only one function may be called at a time",
    ]
    assert [
        call.problem for call in parse_answer(f"{CALL_TEXT}{CALL_TEXT}", make_prompt()).tool_calls
    ] == [None, None]


# -- retries -----------------------------------------------------------------------------------------


def parse_answer(text: str, prompt: ToolPrompt) -> Answer:
    parser = prompt.new_parser()
    texts = [part for part in [*parser.feed(text), *parser.end()] if isinstance(part, str)]
    return Answer("".join(texts), tool_calls=parser.calls)


@pytest.mark.parametrize(
    ("text", "choice", "reason"),
    [
        ("三", "auto", None),
        ("三", "any", "the answer does not call add or search"),
        (CALL_TEXT, "any", None),
        (CALL_TEXT, "search", "unknown function 'add'; available functions: search"),
        ("<tool_call>add(1)</tool_call>", "auto", "cannot parse a tool call: no JSON found"),
        (f"<tool_call>add(1)</tool_call>{CALL_TEXT}", "auto", None),
        (
            "<tool_call>add(1)</tool_call><tool_call>[]</tool_call><tool_call>{</tool_call>",
            "auto",
            "cannot parse a tool call: no JSON found; cannot parse a tool call: incomplete JSON",
        ),
    ],
)
def test_an_answer_without_a_valid_call_is_retried(text: str, choice: str, reason: str | None) -> None:
    prompt = make_prompt(tool_choice=choice)
    assert prompt.retry_reason(parse_answer(text, prompt)) == reason


def test_a_retry_follows_the_answer_with_the_reason() -> None:
    prompt = make_prompt()
    answer, retry = prompt.build_retry_messages(
        [QUESTION], parse_answer("好。<tool_call>add(1)</tool_call>", prompt)
    )

    assert (answer.type, answer.content) == ("ai", "好。\n<tool_call>add(1)</tool_call>")
    assert retry.text.startswith("没有执行任何函数：cannot parse a tool call: no JSON found")


def test_a_retry_is_in_the_language_of_the_question_not_of_a_result() -> None:
    prompt = make_prompt(tool_choice="any")
    history = [AIMessage("", tool_calls=[CALL]), ToolMessage("三", tool_call_id="1")]
    messages = prompt.add_instructions([HumanMessage("1 + 2?"), *history])

    (retry,) = prompt.build_retry_messages(messages, parse_answer("", prompt))

    assert retry.text.startswith(
        "No function was run: the answer does not call add or search\n\nWrite the"
    )


def test_an_empty_answer_adds_no_message_to_the_retry() -> None:
    prompt = make_prompt(tool_choice="any")

    assert [
        message.type for message in prompt.build_retry_messages([QUESTION], parse_answer("", prompt))
    ] == ["human"]


# -- earlier calls and their results -----------------------------------------------------------------


def test_calls_and_results_become_text() -> None:
    calls = [CALL, tool_call(name="search", args={"query": "三"}, id="2")]
    results = [
        ToolMessage("找到了\n三", tool_call_id="2"),
        ToolMessage("Error: no", tool_call_id="1", name="add", status="error"),
    ]
    search_text = '<tool_call>\n{"name": "search", "arguments": {"query": "三"}}\n</tool_call>'

    assert render(QUESTION, AIMessage("算。", tool_calls=calls), *results, AIMessage("三")) == [
        ("human", QUESTION.content),
        ("ai", f"算。\n{CALL_TEXT}\n{search_text}"),
        (
            "human",
            response_text(name="add", status="error", content="Error: no")
            + "\n"
            + response_text(name="search", content="找到了\n三"),
        ),
        ("ai", "三"),
    ]


def test_a_result_of_an_unknown_call_follows_the_expected_ones() -> None:
    calls = [CALL, tool_call(name="search", args={}, id="2")]
    results = [ToolMessage(f"{n}", tool_call_id=n) for n in ("9", "2", "1")]

    assert render(AIMessage("", tool_calls=calls), *results)[1:] == [
        (
            "human",
            "\n".join(
                (
                    response_text(name="add", content="1"),
                    response_text(name="search", content="2"),
                    response_text(content="9"),
                )
            ),
        )
    ]


def test_response_metadata_of_an_answer_is_kept() -> None:
    message = AIMessage("", tool_calls=[CALL], response_metadata={"session_id": "s"})

    assert render_tool_messages([message])[0].response_metadata == {"session_id": "s"}


def test_a_rendered_call_is_parsed_unchanged() -> None:
    (_, text), *_ = render(AIMessage("算。", tool_calls=[CALL]))
    parser = ToolCallParser(["add"])
    parts = [*parser.feed(text), *parser.end()]

    assert parts[0] == "算。"
    assert (parser.calls[0].name, parser.calls[0].args) == (CALL["name"], CALL["args"])


@pytest.mark.parametrize("args", ["<tool_call>add(1)</tool_call>", "(1)"])
def test_an_invalid_call_is_rendered_with_an_error_result(args: str) -> None:
    invalid_call = invalid_tool_call(name="add", args=args, id="2", error=None)
    _, (kind, text) = render(AIMessage("", invalid_tool_calls=[invalid_call]), QUESTION)[:2]

    assert render(AIMessage("", invalid_tool_calls=[invalid_call]))[0][1].replace("\n", "") == (
        "<tool_call>add(1)</tool_call>"
    )
    assert kind == "human"
    assert text == response_text(
        name="add",
        status="error",
        content="not run: the call is malformed, or the function does not exist",
    )


def test_equal_calls_are_rendered_separately() -> None:
    twice = AIMessage("", tool_calls=[CALL, CALL | {"id": "2"}])

    assert render(twice) == [("ai", f"{CALL_TEXT}\n{CALL_TEXT}")]


def test_a_call_that_was_answered_is_not_answered_again() -> None:
    message = AIMessage(
        "", invalid_tool_calls=[invalid_tool_call(name="add", args="", id="2", error=None)]
    )
    rendered = render(message, ToolMessage("Error: no JSON", tool_call_id="2"))

    assert rendered == [
        ("ai", "<tool_call>\nadd\n\n</tool_call>"),
        ("human", response_text(content="Error: no JSON")),
    ]


def test_arguments_that_json_cannot_represent_are_written_as_text() -> None:
    call = tool_call(name="add", args={"day": date(2027, 1, 3)}, id="1")

    assert '"day": "2027-01-03"' in render(AIMessage("", tool_calls=[call]))[0][1]


def test_all_text_blocks_of_a_result_are_joined() -> None:
    blocks: list[Any] = [{"type": "text", "text": "一"}, {"type": "text-plain", "text": "二"}, "三"]
    _, (_, text) = render(AIMessage("", tool_calls=[CALL]), ToolMessage(blocks, tool_call_id="1"))

    assert text == response_text(name="add", content="一二三")


def test_a_result_without_its_call_is_rendered() -> None:
    results = [ToolMessage(text, tool_call_id=text, name="add") for text in ("三", "四")]
    text = f"{response_text(name='add', content='三')}\n{response_text(name='add', content='四')}"

    assert render(QUESTION, *results) == [("human", QUESTION.content), ("human", text)]


def test_images_of_a_result_are_kept() -> None:
    image = {"type": "image", "url": "https://example.com/a.png"}
    message = ToolMessage([{"type": "text", "text": "看"}, image], tool_call_id="1", name="draw")
    rendered = render_tool_messages([AIMessage("", tool_calls=[CALL]), message])[-1]

    assert rendered.content == [
        {"type": "text", "text": response_text(name="draw", content="看")},
        image,
    ]


def test_other_messages_are_passed_through_unchanged() -> None:
    messages = [SystemMessage("规则"), QUESTION, AIMessage("三")]
    assert all(a is b for a, b in zip(render_tool_messages(messages), messages, strict=True))
