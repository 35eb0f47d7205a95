"""Tests of tool calling by prompting: results, retries and requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call

from langchain_bailian_app import BailianAppTool, InMemorySessionStore
from langchain_bailian_app.emulator import App, ErrorReply, Node, Reply
from langchain_bailian_app.errors import BailianError

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]

CALL_STYLES = ("invoke", "ainvoke", "stream", "astream")
QUESTION = "一加二是多少？"
CALL = {"name": "add", "args": {"a": 1, "b": 2}, "type": "tool_call"}
CALL_TEXT = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
UNKNOWN_CALL_TEXT = '<tool_call>\n{"name": "plus", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
BROKEN_CALL_TEXT = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": }}\n</tool_call>'


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def call_model(call_style: str, model: Any, question: Any = QUESTION, **kwargs: Any) -> AIMessage:
    """Call the model in a call style and return its message."""
    if call_style == "invoke":
        return model.invoke(question, **kwargs)
    if call_style == "ainvoke":
        return await model.ainvoke(question, **kwargs)
    if call_style == "stream":
        chunks = list(model.stream(question, **kwargs))
    else:
        chunks = [chunk async for chunk in model.astream(question, **kwargs)]
    first, *others = chunks
    return sum(others, first)


def tool_calls_without_ids(message: AIMessage) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in call.items() if name != "id"} for call in message.tool_calls
    ]


def sent_inputs(bailian: BailianEmulator) -> list[dict[str, Any]]:
    return [request.body["input"] for request in bailian.requests]


# -- results -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_style", CALL_STYLES)
async def test_calls_come_as_tool_calls_and_the_rest_as_text(
    make_scripted_model: MakeModel, call_style: str
) -> None:
    model = make_scripted_model(
        f"我来算。\n\n{CALL_TEXT}\n{CALL_TEXT}\n", tool_calling="prompt"
    ).bind_tools([add])
    message = await call_model(call_style, model)

    assert message.content == "我来算。"
    assert tool_calls_without_ids(message) == [CALL, CALL]
    assert len({call["id"] for call in message.tool_calls}) == 2
    assert [block["type"] for block in message.content_blocks] == ["text", "tool_call", "tool_call"]
    assert message.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("call_style", ["stream", "astream"])
@pytest.mark.parametrize("version", ["v0", "v1"])
async def test_the_name_and_the_arguments_of_a_call_are_two_chunks_as_soon_as_it_is_complete(
    make_scripted_model: MakeModel, call_style: str, version: str
) -> None:
    no_arguments = '<tool_call>{"name": "add"}</tool_call>'
    model = make_scripted_model(
        f"好。{CALL_TEXT}{no_arguments}稍等。", tool_calling="prompt", output_version=version
    ).bind_tools([add])
    if call_style == "stream":
        stream = list(model.stream(QUESTION))
    else:
        stream = [chunk async for chunk in model.astream(QUESTION)]
    chunks = [chunk for chunk in stream if chunk.text or chunk.tool_call_chunks]
    kinds = ["text" if chunk.text else chunk.content_blocks[0]["type"] for chunk in chunks]

    assert kinds[0] == kinds[-1] == "text"
    assert kinds.count("tool_call_chunk") == 4
    calls = [call for chunk in chunks for call in chunk.tool_call_chunks]
    assert [(call["name"], call["args"], call["index"]) for call in calls] == [
        ("add", "", 0),
        (None, '{"a": 1, "b": 2}', 0),
        ("add", "", 1),
        (None, "{}", 1),
    ]
    assert all(calls[index]["id"] for index in (0, 2))
    assert not any(calls[index]["id"] for index in (1, 3))
    assert tool_calls_without_ids(sum(stream[1:], stream[0])) == [CALL, CALL | {"args": {}}]


@pytest.mark.parametrize("call_style", CALL_STYLES)
async def test_v1_content_contains_the_calls(make_scripted_model: MakeModel, call_style: str) -> None:
    text = f"好。{CALL_TEXT}{UNKNOWN_CALL_TEXT}"
    model = make_scripted_model(text, tool_calling="prompt", output_version="v1").bind_tools([add])
    message = await call_model(call_style, model)

    assert [block["type"] for block in message.content] == ["text", "tool_call", "invalid_tool_call"]
    assert message.content[1]["args"] == CALL["args"]
    assert tool_calls_without_ids(message) == [CALL]


def test_v3_events_contain_the_calls(make_scripted_model: MakeModel) -> None:
    model = make_scripted_model(f"好。{CALL_TEXT}", tool_calling="prompt").bind_tools([add])
    stream = model.stream_events(QUESTION, version="v3")
    message = stream.output

    assert message.text == "好。"
    assert tool_calls_without_ids(message) == [CALL]


@pytest.mark.parametrize("call_style", CALL_STYLES)
async def test_invalid_calls_do_not_hide_valid_ones(
    make_scripted_model: MakeModel, call_style: str
) -> None:
    model = make_scripted_model(
        BROKEN_CALL_TEXT + CALL_TEXT + UNKNOWN_CALL_TEXT, tool_calling="prompt"
    ).bind_tools([add])
    message = await call_model(call_style, model)

    assert tool_calls_without_ids(message) == [CALL]
    assert [call["args"] for call in message.invalid_tool_calls] == [
        BROKEN_CALL_TEXT,
        UNKNOWN_CALL_TEXT,
    ]
    assert [call["name"] for call in message.invalid_tool_calls] == [None, "plus"]
    broken, unknown = message.response_metadata["tool_call_problems"]
    assert broken.startswith("cannot parse a tool call: not valid JSON")
    assert unknown == "unknown function 'plus'; available functions: add"
    assert [block["type"] for block in message.content_blocks] == [
        "tool_call",
        "invalid_tool_call",
        "invalid_tool_call",
    ]


@pytest.mark.parametrize("call_style", CALL_STYLES)
async def test_a_stop_sequence_removes_the_calls_after_it(
    make_scripted_model: MakeModel, call_style: str
) -> None:
    model = make_scripted_model(f"好。完{CALL_TEXT}", tool_calling="prompt").bind_tools([add])
    message = await call_model(call_style, model, stop=["完"])

    assert (message.content, message.tool_calls) == ("好。", [])


def test_without_tools_text_that_looks_like_a_call_stays_text(make_scripted_model: MakeModel) -> None:
    model = make_scripted_model(CALL_TEXT, tool_calling="prompt")

    assert model.invoke(QUESTION).content == CALL_TEXT
    assert model.bind_tools([add], tool_choice="none").invoke(QUESTION).content == CALL_TEXT


# -- retries -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_style", CALL_STYLES)
@pytest.mark.parametrize("invalid_call", [BROKEN_CALL_TEXT, UNKNOWN_CALL_TEXT])
async def test_invalid_calls_are_retried_once(
    bailian: BailianEmulator, make_scripted_model: MakeModel, call_style: str, invalid_call: str
) -> None:
    usage = [{"model_id": "qwen-plus", "input_tokens": 10, "output_tokens": 5}]
    first = Reply(f"我来算。{invalid_call}", usage=usage)
    model = make_scripted_model(
        first, Reply(f"更正。{CALL_TEXT}", usage=usage), tool_calling="prompt"
    ).bind_tools([add])
    message = await call_model(call_style, model)

    assert message.content == "我来算。\n\n更正。"
    assert tool_calls_without_ids(message) == [CALL]
    assert message.invalid_tool_calls == []
    assert "tool_call_problems" not in message.response_metadata
    assert message.usage_metadata == {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}
    _, second_input = sent_inputs(bailian)
    *_, first_reply, retry = second_input["messages"]
    assert first_reply == {"role": "assistant", "content": f"我来算。\n{invalid_call}"}
    assert retry["content"].startswith("没有执行任何函数：")


@pytest.mark.parametrize("call_style", CALL_STYLES)
async def test_calls_that_are_invalid_twice_are_in_the_answer(
    bailian: BailianEmulator, make_scripted_model: MakeModel, call_style: str
) -> None:
    message = await call_model(
        call_style, make_scripted_model(BROKEN_CALL_TEXT, tool_calling="prompt").bind_tools([add])
    )

    assert message.tool_calls == []
    assert [call["args"] for call in message.invalid_tool_calls] == [BROKEN_CALL_TEXT]
    assert len(bailian.requests) == 2


@pytest.mark.parametrize("call_style", CALL_STYLES)
async def test_a_missing_required_call_is_retried_once(
    bailian: BailianEmulator, make_scripted_model: MakeModel, call_style: str
) -> None:
    model = make_scripted_model("三。", CALL_TEXT, tool_calling="prompt").bind_tools(
        [add], tool_choice="any"
    )
    message = await call_model(call_style, model)

    assert (message.content, tool_calls_without_ids(message)) == ("三。", [CALL])
    assert "the answer does not call add" in sent_inputs(bailian)[1]["messages"][-1]["content"]


@pytest.mark.parametrize("call_style", CALL_STYLES)
@pytest.mark.parametrize("tool_choice", ["any", "add"])
@pytest.mark.parametrize(
    "second_answer", ["还是三。", f"还是三。{BROKEN_CALL_TEXT}{UNKNOWN_CALL_TEXT}"]
)
async def test_a_required_call_that_is_missing_twice_is_an_error(
    bailian: BailianEmulator,
    make_scripted_model: MakeModel,
    call_style: str,
    tool_choice: str,
    second_answer: str,
) -> None:
    model = make_scripted_model("三。", second_answer, tool_calling="prompt", max_retries=2)
    bound = model.bind_tools([add], tool_choice=tool_choice)
    with pytest.raises(BailianError, match=r"missing tool call: .*tool_choice.*auto") as caught:
        await call_model(call_style, bound)

    assert type(caught.value) is BailianError
    assert caught.value.is_retryable is False
    partial = caught.value.partial
    assert partial is not None
    assert (partial.text, partial.tool_calls) == ("三。\n\n还是三。", [])
    assert len(partial.invalid_tool_calls) == second_answer.count("<tool_call>")
    assert caught.value.request_id == partial.response_metadata["request_id"]
    assert len(bailian.requests) == 2


@pytest.mark.parametrize("call_style", CALL_STYLES)
async def test_a_stop_sequence_before_a_required_call_is_an_error(
    bailian: BailianEmulator, make_scripted_model: MakeModel, call_style: str
) -> None:
    model = make_scripted_model(f"好。完{CALL_TEXT}", tool_calling="prompt").bind_tools(
        [add], tool_choice="any"
    )
    with pytest.raises(BailianError, match="missing tool call") as caught:
        await call_model(call_style, model, stop=["完"])

    assert caught.value.partial is not None
    assert caught.value.partial.text == "好。"
    assert len(bailian.requests) == 1


def test_without_a_required_call_prose_is_an_answer(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    model = make_scripted_model("三。", tool_calling="prompt")
    for tool_choice in (None, "auto", "none", False):
        assert model.bind_tools([add], tool_choice=tool_choice).invoke(QUESTION).text == "三。"
    assert len(bailian.requests) == 4


@pytest.mark.parametrize("call_style", CALL_STYLES)
async def test_both_replies_are_merged_into_one_answer(
    bailian: BailianEmulator, make_model: MakeModel, call_style: str
) -> None:
    """Sources, steps and reasoning of both replies occur once; citations have the right positions."""
    replies = iter(
        [f"滞报金是什么<ref>[1]</ref>。{BROKEN_CALL_TEXT}", f"见上<ref>[1]</ref>。{CALL_TEXT}"]
    )
    (customs, *_) = bailian.apps.values()
    app_id = bailian.add_app(
        App(
            "both",
            answer=lambda _: Reply(next(replies), reasoning="想一想。"),
            knowledge_bases=customs.knowledge_bases,
            thinking="on",
            always_thoughts=True,
        )
    )
    model = make_model(app_id, tool_calling="prompt").bind_tools([add])
    message = await call_model(call_style, model, "什么是滞报金？")
    del bailian.apps[app_id]

    assert message.content == "滞报金是什么。\n\n见上。"
    blocks = message.content_blocks
    kinds = [block["type"] for block in blocks]
    assert kinds.count("reasoning") == kinds.count("text") == 1
    text = next(block for block in blocks if block["type"] == "text")
    cited_texts = [message.content[a["start_index"] : a["end_index"]] for a in text["annotations"]]
    assert cited_texts == ["滞报金是什么", "见上"]
    assert message.additional_kwargs["reasoning_content"] == "想一想。想一想。"
    ids = [block["id"] for block in blocks if block["type"] == "server_tool_call"]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("call_style", CALL_STYLES)
@pytest.mark.parametrize("version", ["v0", "v1"])
async def test_nodes_of_both_replies_are_kept_separate(
    bailian: BailianEmulator, make_model: MakeModel, call_style: str, version: str
) -> None:
    replies = iter([f"我{BROKEN_CALL_TEXT}", CALL_TEXT])
    nodes = [Node("开始", "Start"), Node("模型"), Node("结束", "End")]
    app = App("flow", kind="workflow", answer=lambda _: next(replies), nodes=nodes)
    app_id = bailian.add_app(app)
    model = make_model(app_id, tool_calling="prompt", answer_node="模型", output_version=version)
    message = await call_model(call_style, model.bind_tools([add]))
    del bailian.apps[app_id]

    node_entries = [
        block["value"] for block in message.content_blocks if block["type"] == "non_standard"
    ]
    assert {node["name"] for node in node_entries} == {"开始", "模型", "结束"}
    assert sum(node["name"] == "开始" for node in node_entries) == 2
    assert tool_calls_without_ids(message) == [CALL]


@pytest.mark.slow
def test_an_error_of_the_second_request_keeps_the_first_answer(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    model = make_scripted_model(f"我来算。{BROKEN_CALL_TEXT}", tool_calling="prompt").bind_tools([add])
    app = bailian.apps[model.bound.app_id]  # type: ignore[attr-defined]
    chunks: list[AIMessageChunk] = []

    def run() -> None:
        for chunk in model.stream(QUESTION):
            chunks.append(chunk)
            app.error = ErrorReply(429, "Throttling", "slow down")

    with pytest.raises(BailianError) as caught:
        run()
    assert "".join(chunk.text for chunk in chunks) == "我来算。"
    assert caught.value.is_retryable is False
    assert caught.value.partial is not None
    assert caught.value.partial.content == "我来算。"


# -- requests ----------------------------------------------------------------------------------------


HISTORY = [
    HumanMessage(QUESTION),
    AIMessage("", tool_calls=[tool_call(name="add", args=CALL["args"], id="1")]),
    ToolMessage("3", tool_call_id="1", name="add"),
]


def test_calls_and_results_of_the_history_are_sent_as_text(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    make_scripted_model("三", tool_calling="prompt").bind_tools([add]).invoke(HISTORY)

    (request,) = sent_inputs(bailian)
    assert [turn["role"] for turn in request["messages"]] == ["system", "user", "assistant", "user"]
    assert request["messages"][2]["content"] == CALL_TEXT
    assert '"content": "3"' in request["messages"][3]["content"]


@pytest.mark.parametrize("call_style", CALL_STYLES)
@pytest.mark.parametrize("tool_calling", [None, "prompt"])
@pytest.mark.parametrize("fields", [{}, {"agent_version": "2.0"}, {"legacy_history": True}])
async def test_without_tools_results_of_the_history_are_text_before_the_question(
    bailian: BailianEmulator,
    make_scripted_model: MakeModel,
    call_style: str,
    tool_calling: str | None,
    fields: dict[str, Any],
) -> None:
    model = make_scripted_model("三", tool_calling=tool_calling, **fields)
    await call_model(call_style, model, HISTORY)

    (request,) = sent_inputs(bailian)
    result = '工具 add({"a": 1, "b": 2}) 的结果：\n3'
    if fields.get("agent_version"):
        assert request["prompt"] == f"助手：{result}\n\n用户：{QUESTION}"
    elif fields:
        assert (request["prompt"], request["history"]) == (QUESTION, [{"user": "", "bot": result}])
    else:
        assert request["messages"] == [
            {"role": "assistant", "content": result},
            {"role": "user", "content": QUESTION},
        ]


def test_structured_output_reads_the_results_of_the_history(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    schema = {"title": "sum", "type": "object", "properties": {"total": {"type": "integer"}}}
    model = make_scripted_model("三", '{"total": 3}')

    assert model.with_structured_output(schema).invoke(HISTORY) == {"total": 3}
    first, second = (request["messages"] for request in sent_inputs(bailian))
    assert [turn["role"] for turn in first] == ["assistant", "user"]
    assert first[1]["content"].startswith(f"{QUESTION}\n\n请只用 JSON 回答")
    assert [turn["role"] for turn in second] == ["user", "assistant", "assistant", "user"]


def test_the_cloud_session_is_not_used(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    model = make_scripted_model("三", tool_calling="prompt", history="session").bind_tools([add])
    message = model.invoke(QUESTION)

    assert message.response_metadata["history"] == "messages"
    assert not any("session_id" in request for request in sent_inputs(bailian))


@pytest.mark.parametrize(
    ("fields", "configurable"),
    [
        ({"history": "thread", "session_store": InMemorySessionStore()}, {"thread_id": "t"}),
        ({"session_id": "s"}, {}),
        ({}, {"bailian_session_id": "s"}),
    ],
)
def test_server_side_history_is_rejected_together_with_tools(
    bailian: BailianEmulator,
    make_scripted_model: MakeModel,
    fields: dict[str, Any],
    configurable: dict[str, str],
) -> None:
    model = make_scripted_model("三", tool_calling="prompt", **fields)
    with pytest.raises(ValueError, match="in a call with tools"):
        model.bind_tools([add]).invoke(QUESTION, {"configurable": configurable})
    assert not bailian.requests
    model.bind_tools([add], tool_choice="none").invoke(QUESTION, {"configurable": configurable})
    assert len(bailian.requests) == 1


@pytest.mark.parametrize("keywords", [{"session_id": "s"}, {"history": "thread", "session_key": "k"}])
def test_results_of_tools_are_rejected_in_a_session(
    bailian: BailianEmulator, make_scripted_model: MakeModel, keywords: dict[str, str]
) -> None:
    model = make_scripted_model("三", tool_calling="prompt", session_store=InMemorySessionStore())
    call = tool_call(name="add", args=CALL["args"], id="1")
    history = [
        HumanMessage(QUESTION),
        AIMessage("", tool_calls=[call]),
        ToolMessage("3", tool_call_id="1"),
    ]
    with pytest.raises(ValueError, match="cannot send a ToolMessage"):
        model.invoke(history, **keywords)
    assert not bailian.requests


def test_tools_are_rejected_unless_tool_calling_is_enabled(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    model = make_scripted_model("三")
    with pytest.raises(NotImplementedError, match='`tool_calling="prompt"`'):
        model.bind_tools([add])
    with pytest.raises(NotImplementedError, match="BailianAppTool"):
        model.invoke(QUESTION, tools=[add])
    assert not bailian.requests
    assert model.profile is not None
    assert model.profile["tool_calling"] is False


def test_keywords_of_other_packages_do_no_harm(make_scripted_model: MakeModel) -> None:
    model = make_scripted_model(CALL_TEXT + CALL_TEXT, tool_calling="prompt")
    bound = model.bind_tools([add], strict=True, parallel_tool_calls=False)
    message = bound.invoke(QUESTION)

    assert model.profile is not None
    assert model.profile["tool_calling"] is True
    assert tool_calls_without_ids(message) == [CALL]
    assert message.response_metadata["tool_call_problems"] == [
        "only one function may be called at a time"
    ]


def test_an_invalid_tool_choice_is_rejected_when_tools_are_bound(
    make_scripted_model: MakeModel,
) -> None:
    with pytest.raises(ValueError, match="invalid `tool_choice`"):
        make_scripted_model("三", tool_calling="prompt").bind_tools([add], tool_choice="sub")


def test_tool_calling_may_be_enabled_for_one_call(make_scripted_model: MakeModel) -> None:
    message = make_scripted_model(CALL_TEXT).invoke(QUESTION, tools=[add], tool_calling="prompt")

    assert tool_calls_without_ids(message) == [CALL]


def test_descriptions_of_tools_count_as_tokens(make_scripted_model: MakeModel) -> None:
    model = make_scripted_model("三", tool_calling="prompt")
    question = [HumanMessage(QUESTION)]

    assert (
        model.get_num_tokens_from_messages(question, tools=[add])
        > model.get_num_tokens_from_messages(question) + 50
    )


def test_a_bailian_tool_can_be_bound_to_an_application(
    make_scripted_model: MakeModel, bailian: BailianEmulator
) -> None:
    inner = BailianAppTool(
        app_id=bailian.app_id,
        api_key=bailian.api_key,
        base_url=bailian.base_url,
        name="customs",
        description="Explains terms of the customs.",
    )
    call_text = '<tool_call>{"name": "customs", "arguments": {"query": "什么是滞报金？"}}</tool_call>'
    message = make_scripted_model(call_text, tool_calling="prompt").bind_tools([inner]).invoke(QUESTION)

    assert "滞报金" in inner.invoke(message.tool_calls[0]).content


def test_calls_of_the_history_count_as_tokens(make_scripted_model: MakeModel) -> None:
    model = make_scripted_model("三", tool_calling="prompt")
    history = [
        HumanMessage(QUESTION),
        AIMessage("", tool_calls=[tool_call(name="a", args={"x": "long " * 99}, id="1")]),
    ]

    assert model.get_num_tokens_from_messages(history) > 99


async def test_fallbacks_accept_tools_and_schemas(make_scripted_model: MakeModel) -> None:
    """LangChain resolves the annotations of the methods that `with_fallbacks` forwards."""
    model = make_scripted_model(CALL_TEXT, tool_calling="prompt")
    model_with_fallback = model.with_fallbacks([model])

    assert tool_calls_without_ids(model_with_fallback.bind_tools([add]).invoke(QUESTION)) == [CALL]
    schema = {"title": "call", "type": "object", "properties": {"name": {"type": "string"}}}
    assert model_with_fallback.with_structured_output(schema).invoke(QUESTION)["name"] == "add"


def test_a_schema_and_tools_cannot_be_combined(make_scripted_model: MakeModel) -> None:
    with pytest.raises(TypeError, match="cannot use `tools`"):
        make_scripted_model("三", tool_calling="prompt").with_structured_output(
            {"type": "object"}, tools=[add]
        )


def test_buffered_text_comes_before_the_call(make_scripted_model: MakeModel) -> None:
    model = make_scripted_model(f"前<re{CALL_TEXT}后", tool_calling="prompt").bind_tools([add])
    kinds = [
        chunk.text or "call" for chunk in model.stream(QUESTION) if chunk.text or chunk.tool_call_chunks
    ]

    assert "".join(kinds) == "前<recallcall后"
