"""Tools, calls and results in words: what an application is told of them."""

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

from langchain_bailian_app._answer.assembler import Answer
from langchain_bailian_app._answer.tool_calls import CallReader
from langchain_bailian_app.chat_models._tool_prompt import ToolPrompt, tool_prompt, with_calls_as_text


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def search(query: str) -> str:
    """Search."""
    return query


QUESTION = HumanMessage("一加二是多少？")
CALL = tool_call(name="add", args={"a": 1, "b": 2}, id="1")
CALLED = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'


def prompt(**keywords: Any) -> ToolPrompt:
    found = tool_prompt({"tools": [add, search]} | keywords)
    assert found is not None
    return found


def told(*messages: BaseMessage) -> list[tuple[str, Any]]:
    return [(message.type, message.content) for message in with_calls_as_text(messages)]


def result(**fields: Any) -> str:
    return f"<tool_response>\n{json.dumps(fields, ensure_ascii=False)}\n</tool_response>"


# -- what tools there are ----------------------------------------------------------------------------


def test_tools_are_described_behind_the_rules_of_the_caller() -> None:
    first, question = prompt().told([SystemMessage("规则"), QUESTION])

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
                "Several such blocks call several functions at once.",
                "If no function is needed, just answer.",
            ),
        ),
        (
            {"tool_choice": "any", "parallel_tool_calls": True},
            ("可以一次写几个这样的块，调用几个函数。", "这一次必须调用函数。"),
            (
                "Several such blocks call several functions at once.",
                "This time you must call a function.",
            ),
        ),
        (
            {"tool_choice": "add", "parallel_tool_calls": False},
            ("一次只能调用一个函数。", "这一次必须调用函数 add。"),
            ("Call one function at a time only.", "This time you must call the function add."),
        ),
    ],
)
def test_how_many_calls_are_wanted_is_told_behind_the_form_of_one(
    keywords: dict[str, Any], chinese: tuple[str, str], english: tuple[str, str]
) -> None:
    asked = prompt(**keywords)

    for question, lines in (("一加二？", chinese), ("1 + 2?", english)):
        text = asked.told([HumanMessage(question)])[0].text
        assert tuple(text.rpartition("</tool_call>\n\n")[2].splitlines()[:-1]) == lines


def test_descriptions_are_told_in_their_own_letters() -> None:
    tool = {
        "name": "add",
        "description": "两数相加",
        "parameters": {"type": "object", "properties": {}},
    }

    assert '"description": "两数相加"' in prompt(tools=[tool]).told([QUESTION])[0].text


def test_messages_without_a_question_are_left_to_the_model() -> None:
    assert prompt().told([])[0].text.startswith("# Tools\n\nBesides tools")


@pytest.mark.parametrize(
    ("question", "words"),
    [("一加二？", "这一次必须调用函数 add。"), ("1 + 2?", "This time you must call the function add.")],
)
def test_words_are_in_the_language_of_the_question(question: str, words: str) -> None:
    messages = [
        HumanMessage(question),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage("三", tool_call_id="1"),
    ]

    assert words in prompt(tool_choice="add").told(messages)[0].text


@pytest.mark.parametrize(
    ("choice", "meant"),
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
def test_a_choice_may_be_written_as_elsewhere(choice: Any, meant: str) -> None:
    assert prompt(tool_choice=choice).choice == meant


@pytest.mark.parametrize(
    "choice", ["sub", {"type": "function"}, {"function": ["add"]}, ["add"], 1.5, ""]
)
def test_a_choice_of_nothing_is_refused_by_what_was_given(choice: Any) -> None:
    message = f"`tool_choice` is 'auto', 'any', 'none' or one of ['add', 'search'], not {choice!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        prompt(tool_choice=choice)


def test_tools_that_a_provider_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="'web_search'} is no function"):
        prompt(tools=[add, {"type": "web_search"}])


def test_rules_that_are_blocks_stay_blocks() -> None:
    rules: list[Any] = [{"type": "text", "text": "规则"}, {"type": "image", "url": "https://a/b.png"}]
    first, _ = prompt().told([SystemMessage(rules), QUESTION])

    assert first.content[:2] == rules
    assert first.content[2] == {"type": "text", "text": f"\n\n{prompt().told([QUESTION])[0].text}"}


def test_a_question_may_be_a_chat_message() -> None:
    assert "# 工具" in prompt().told([ChatMessage("一加二？", role="user")])[0].text


def test_without_tools_or_with_none_to_be_called_nothing_is_told() -> None:
    assert tool_prompt({}) is None
    assert tool_prompt({"tools": []}) is None
    assert tool_prompt({"tools": [add], "tool_choice": "none"}) is None


def test_only_the_tool_that_must_be_called_may_be_called() -> None:
    assert prompt(tool_choice="search").names == ["search"]
    assert prompt(tool_choice="any").names == ["add", "search"]


def test_a_second_call_is_refused_where_only_one_may_be_made() -> None:
    asked = prompt(parallel_tool_calls=False)

    assert [call.problem for call in answer(f"{CALLED}{CALLED}", asked).tool_calls] == [
        None,
        "only one function may be called at a time",
    ]
    assert [call.problem for call in answer(f"{CALLED}{CALLED}", prompt()).tool_calls] == [None, None]


# -- what is asked again -----------------------------------------------------------------------------


def answer(text: str, asked: ToolPrompt) -> Answer:
    reader = asked.reader()
    said = [part for part in [*reader.feed(text), *reader.end()] if isinstance(part, str)]
    return Answer("".join(said), tool_calls=reader.calls)


@pytest.mark.parametrize(
    ("text", "choice", "problem"),
    [
        ("三", "auto", None),
        ("三", "any", "there is no call of add or search"),
        (CALLED, "any", None),
        (CALLED, "search", "there is no function 'add' to call, only search"),
        ("<tool_call>add(1)</tool_call>", "auto", "a call cannot be read: there is no JSON in it"),
        (f"<tool_call>add(1)</tool_call>{CALLED}", "auto", None),
        (
            "<tool_call>add(1)</tool_call><tool_call>[]</tool_call><tool_call>{</tool_call>",
            "auto",
            "a call cannot be read: there is no JSON in it; a call cannot be read: the JSON breaks off",
        ),
    ],
)
def test_an_answer_is_asked_for_again_if_it_has_no_call_that_can_be_run(
    text: str, choice: str, problem: str | None
) -> None:
    asked = prompt(tool_choice=choice)
    assert asked.problem(answer(text, asked)) == problem


def test_what_is_wrong_is_said_behind_what_was_answered() -> None:
    asked = prompt()
    said, again = asked.asked_again([QUESTION], answer("好。<tool_call>add(1)</tool_call>", asked))

    assert (said.type, said.content) == ("ai", "好。\n<tool_call>add(1)</tool_call>")
    assert again.text.startswith("没有执行任何函数：a call cannot be read: there is no JSON in it")


def test_what_is_wrong_is_said_in_the_language_of_the_question_not_of_a_result() -> None:
    asked = prompt(tool_choice="any")
    called = [AIMessage("", tool_calls=[CALL]), ToolMessage("三", tool_call_id="1")]
    told_messages = asked.told([HumanMessage("1 + 2?"), *called])

    (again,) = asked.asked_again(told_messages, answer("", asked))

    assert again.text.startswith("No function was run: there is no call of add or search\n\nWrite the")


def test_an_empty_answer_is_no_message() -> None:
    asked = prompt(tool_choice="any")

    assert [message.type for message in asked.asked_again([QUESTION], answer("", asked))] == ["human"]


# -- earlier calls and their results -----------------------------------------------------------------


def test_calls_and_results_become_text() -> None:
    calls = [CALL, tool_call(name="search", args={"query": "三"}, id="2")]
    results = [
        ToolMessage("找到了\n三", tool_call_id="2"),
        ToolMessage("Error: no", tool_call_id="1", name="add", status="error"),
    ]
    searched = '<tool_call>\n{"name": "search", "arguments": {"query": "三"}}\n</tool_call>'

    assert told(QUESTION, AIMessage("算。", tool_calls=calls), *results, AIMessage("三")) == [
        ("human", QUESTION.content),
        ("ai", f"算。\n{CALLED}\n{searched}"),
        (
            "human",
            result(name="add", status="error", content="Error: no")
            + "\n"
            + result(name="search", content="找到了\n三"),
        ),
        ("ai", "三"),
    ]


def test_a_result_of_another_call_stands_behind_those_that_were_asked_for() -> None:
    calls = [CALL, tool_call(name="search", args={}, id="2")]
    results = [ToolMessage(f"{n}", tool_call_id=n) for n in ("9", "2", "1")]

    assert told(AIMessage("", tool_calls=calls), *results)[1:] == [
        (
            "human",
            "\n".join(
                (
                    result(name="add", content="1"),
                    result(name="search", content="2"),
                    result(content="9"),
                )
            ),
        )
    ]


def test_what_the_service_said_of_an_answer_stays_with_it() -> None:
    called = AIMessage("", tool_calls=[CALL], response_metadata={"session_id": "s"})

    assert with_calls_as_text([called])[0].response_metadata == {"session_id": "s"}


def test_what_is_told_of_a_call_is_what_is_read_of_it() -> None:
    (_, text), *_ = told(AIMessage("算。", tool_calls=[CALL]))
    reader = CallReader(["add"])
    parts = [*reader.feed(text), *reader.end()]

    assert parts[0] == "算。"
    assert (reader.calls[0].name, reader.calls[0].args) == (CALL["name"], CALL["args"])


@pytest.mark.parametrize("args", ["<tool_call>add(1)</tool_call>", "(1)"])
def test_a_call_that_was_not_run_is_told_with_its_failure(args: str) -> None:
    broken = invalid_tool_call(name="add", args=args, id="2", error=None)
    _, (kind, text) = told(AIMessage("", invalid_tool_calls=[broken]), QUESTION)[:2]

    assert told(AIMessage("", invalid_tool_calls=[broken]))[0][1].replace("\n", "") == (
        "<tool_call>add(1)</tool_call>"
    )
    assert kind == "human"
    assert text == result(
        name="add",
        status="error",
        content="not run: the call cannot be read, or there is no such function",
    )


def test_equal_calls_are_told_one_by_one() -> None:
    twice = AIMessage("", tool_calls=[CALL, CALL | {"id": "2"}])

    assert told(twice) == [("ai", f"{CALLED}\n{CALLED}")]


def test_a_call_that_was_answered_is_not_answered_again() -> None:
    broken = AIMessage(
        "", invalid_tool_calls=[invalid_tool_call(name="add", args="", id="2", error=None)]
    )
    told_messages = told(broken, ToolMessage("Error: no JSON", tool_call_id="2"))

    assert told_messages == [
        ("ai", "<tool_call>\nadd\n\n</tool_call>"),
        ("human", result(content="Error: no JSON")),
    ]


def test_arguments_that_are_no_json_are_written_as_text() -> None:
    call = tool_call(name="add", args={"day": date(2027, 1, 3)}, id="1")

    assert '"day": "2027-01-03"' in told(AIMessage("", tool_calls=[call]))[0][1]


def test_all_text_of_a_result_is_its_content() -> None:
    blocks: list[Any] = [{"type": "text", "text": "一"}, {"type": "text-plain", "text": "二"}, "三"]
    _, (_, text) = told(AIMessage("", tool_calls=[CALL]), ToolMessage(blocks, tool_call_id="1"))

    assert text == result(name="add", content="一二三")


def test_a_result_whose_call_was_left_out_is_told_too() -> None:
    lonely = [ToolMessage(text, tool_call_id=text, name="add") for text in ("三", "四")]
    both = f"{result(name='add', content='三')}\n{result(name='add', content='四')}"

    assert told(QUESTION, *lonely) == [("human", QUESTION.content), ("human", both)]


def test_images_of_a_result_go_along() -> None:
    image = {"type": "image", "url": "https://example.com/a.png"}
    message = ToolMessage([{"type": "text", "text": "看"}, image], tool_call_id="1", name="draw")
    told_message = with_calls_as_text([AIMessage("", tool_calls=[CALL]), message])[-1]

    assert told_message.content == [{"type": "text", "text": result(name="draw", content="看")}, image]


def test_other_messages_stay_the_objects_they_are() -> None:
    messages = [SystemMessage("规则"), QUESTION, AIMessage("三")]
    assert all(a is b for a, b in zip(with_calls_as_text(messages), messages, strict=True))
