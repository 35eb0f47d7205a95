"""Request bodies built from messages and options."""

import json
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    SystemMessageChunk,
    ToolMessage,
)

from langchain_bailian_app import BizParams, RagOptions
from langchain_bailian_app._request.body import (
    build_session_request,
    build_transcript_request,
    check_question_has_text,
    turns_from_messages,
)
from langchain_bailian_app._request.fields import CompletionFields
from langchain_bailian_app._request.service_request import ServiceRequest

HUMAN, AI, SYSTEM = HumanMessage("喝什么？"), AIMessage("绿茶。"), SystemMessage("简短回答。")


def build_request(
    app_id: str, messages: list[BaseMessage], options: CompletionFields
) -> ServiceRequest:
    """Return the request for an explicit session id, or without a session."""
    turns = turns_from_messages(messages)
    if options.session_id is not None:
        return build_session_request(app_id, turns, options, options.session_id)
    return build_transcript_request(app_id, turns, options)


def build_body(*messages: BaseMessage, **options: Any) -> dict[str, Any]:
    return build_request("app", [*messages], CompletionFields(**options)).body


def build_input(*messages: BaseMessage, **options: Any) -> dict[str, Any]:
    result: dict[str, Any] = build_body(*messages, **options)["input"]
    return result


def build_parameters(**options: Any) -> dict[str, Any]:
    result: dict[str, Any] = build_body(HUMAN, **options)["parameters"]
    return result


# -- conversations -----------------------------------------------------------------------------------


def test_a_request_contains_only_the_given_fields() -> None:
    expected = ServiceRequest(
        path="apps/app/completion",
        body={"input": {"prompt": "喝什么？"}, "parameters": {"incremental_output": True}},
        stream=True,
    )

    assert expected == build_request("app", [HUMAN], CompletionFields())


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([HUMAN], {"prompt": "喝什么？"}, id="one question"),
        pytest.param([HumanMessageChunk("喝什么？")], {"prompt": "喝什么？"}, id="a chunk"),
        pytest.param([ChatMessage("喝什么？", role="user")], {"prompt": "喝什么？"}, id="a named role"),
        pytest.param(
            [SYSTEM, HUMAN],
            {
                "messages": [
                    {"role": "system", "content": "简短回答。"},
                    {"role": "user", "content": "喝什么？"},
                ]
            },
            id="a system message",
        ),
        pytest.param(
            [HUMAN, AI, HumanMessage("然后呢？")],
            {
                "messages": [
                    {"role": "user", "content": "喝什么？"},
                    {"role": "assistant", "content": "绿茶。"},
                    {"role": "user", "content": "然后呢？"},
                ]
            },
            id="a conversation",
        ),
        pytest.param(
            [HUMAN, HUMAN],
            {"messages": [{"role": "user", "content": "喝什么？"}] * 2},
            id="two questions",
        ),
        pytest.param(
            [HUMAN, SystemMessageChunk("一"), AIMessageChunk("绿茶。"), SystemMessage("二"), HUMAN],
            {
                "messages": [
                    {"role": "system", "content": "一"},
                    {"role": "system", "content": "二"},
                    {"role": "user", "content": "喝什么？"},
                    {"role": "assistant", "content": "绿茶。"},
                    {"role": "user", "content": "喝什么？"},
                ]
            },
            id="system messages come first in their order",
        ),
        pytest.param(
            [
                ChatMessage("一", role="system"),
                ChatMessage("二", role="human"),
                ChatMessage("三", role="assistant"),
            ],
            {
                "messages": [
                    {"role": "system", "content": "一"},
                    {"role": "user", "content": "二"},
                    {"role": "assistant", "content": "三"},
                ]
            },
            id="named roles",
        ),
    ],
)
def test_one_question_is_a_prompt_and_anything_else_is_sent_as_messages(
    messages: list[BaseMessage], expected: dict[str, Any]
) -> None:
    assert expected == build_input(*messages)


@pytest.mark.parametrize("messages", [[], [SYSTEM], [AI], [SYSTEM, AI]])
@pytest.mark.parametrize("session_id", [None, "s"])
def test_without_a_question_there_is_no_request(
    messages: list[BaseMessage], session_id: str | None
) -> None:
    text = "^missing human message" if session_id is None else "^a session requires exactly one"
    with pytest.raises(ValueError, match=text):
        build_body(*messages, session_id=session_id)


@pytest.mark.parametrize(
    "message",
    [
        ToolMessage("x", tool_call_id="1"),
        FunctionMessage("x", name="f"),
        ChatMessage("x", role="critic"),
        RemoveMessage(id="1"),
    ],
)
def test_a_message_of_another_role_is_refused(message: BaseMessage) -> None:
    advice = "remove it, or move its content to a human message$"
    with pytest.raises(
        ValueError, match=f"^unsupported message type {type(message).__name__}: .*{advice}"
    ):
        build_body(HUMAN, message)


@pytest.mark.parametrize("text", ["", " \n"])
@pytest.mark.parametrize("kind", ["tool_calls", "invalid_tool_calls"])
def test_an_answer_that_only_calls_tools_is_refused_not_omitted(kind: str, text: str) -> None:
    call = {"name": "f", "args": {} if kind == "tool_calls" else "{", "id": "1"}
    call |= {} if kind == "tool_calls" else {"error": None}

    with pytest.raises(
        ValueError, match=r'^cannot send an AIMessage that has only .*`tool_calling="prompt"`$'
    ):
        build_body(HUMAN, AIMessage(text, **{kind: [call]}), HUMAN)


def test_the_text_of_an_answer_that_also_calls_tools_is_sent() -> None:
    call = {"name": "f", "args": {}, "id": "1"}

    assert (
        build_input(HUMAN, AIMessage("绿茶。", tool_calls=[call]), HUMAN)["messages"][1]["content"]
        == "绿茶。"
    )


def test_only_the_text_of_an_answer_is_sent() -> None:
    blocks = [
        {"type": "reasoning", "reasoning": "想"},
        {"type": "server_tool_call", "id": "1", "name": "f", "args": {}},
        {"type": "text", "text": "绿"},
        {"type": "text", "text": "茶。", "annotations": []},
    ]

    assert build_input(HUMAN, AIMessage(blocks), HUMAN)["messages"][1]["content"] == "绿茶。"


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([HUMAN], "喝什么？"),
        ([SYSTEM, HUMAN], "简短回答。\n\n喝什么？"),
        ([HUMAN, SYSTEM], "简短回答。\n\n喝什么？"),
        ([SYSTEM, SystemMessage("用中文。"), HUMAN], "简短回答。\n\n用中文。\n\n喝什么？"),
        ([HUMAN, AI, HumanMessage("然后呢？")], "然后呢？"),
        ([SYSTEM, HUMAN, AI, HumanMessage("然后呢？")], "然后呢？"),
        ([HUMAN, AI, SYSTEM, HumanMessage("然后呢？")], "然后呢？"),
        ([HUMAN, HUMAN, AI, HumanMessage("然后呢？")], "然后呢？"),
    ],
)
def test_an_explicit_session_gets_the_question_after_the_newest_answer(
    messages: list[BaseMessage], prompt: str
) -> None:
    assert {"prompt": prompt, "session_id": "s"} == build_input(*messages, session_id="s")


@pytest.mark.parametrize(
    "messages", [[HUMAN, HUMAN], [HUMAN, AI], [HUMAN, AI, HUMAN, HUMAN], [HUMAN, AI, SYSTEM]]
)
def test_an_explicit_session_takes_exactly_one_question(messages: list[BaseMessage]) -> None:
    with pytest.raises(ValueError, match="exactly one new human message"):
        build_body(*messages, session_id="s")


@pytest.mark.parametrize("session_id", [None, "s"])
def test_a_request_with_or_without_a_session_goes_to_the_application(session_id: str | None) -> None:
    assert (
        build_request("app", [HUMAN], CompletionFields(session_id=session_id)).path
        == "apps/app/completion"
    )


@pytest.mark.parametrize("session_id", [None, "s"])
@pytest.mark.parametrize("messages", [[HUMAN], [SYSTEM, HUMAN], [HUMAN, AI, HUMAN]])
def test_prompt_messages_and_session_are_never_combined(
    messages: list[BaseMessage], session_id: str | None
) -> None:
    sent = build_input(*messages, session_id=session_id)

    assert ("prompt" in sent) != ("messages" in sent)
    assert not ("session_id" in sent and "messages" in sent)


# -- images and files --------------------------------------------------------------------------------

IMAGE, FILE = "https://example.com/1.png", "https://example.com/1.pdf"
A, B, C, F, G = (f"https://example.com/{letter}" for letter in "abcfg")


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"type": "image_url", "image_url": {"url": IMAGE}}, {"image_list": [IMAGE]}),
        ({"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}}, {"image_list": [IMAGE]}),
        ({"type": "image_url", "image_url": IMAGE}, {"image_list": [IMAGE]}),
        ({"type": "image", "url": IMAGE}, {"image_list": [IMAGE]}),
        (
            {"type": "image", "base64": "QQ==", "mime_type": "image/png"},
            {"image_list": ["data:image/png;base64,QQ=="]},
        ),
        ({"type": "file", "url": FILE}, {"file_list": [FILE]}),
        (
            {"type": "file", "base64": "QQ==", "mime_type": "application/pdf"},
            {"file_list": ["data:application/pdf;base64,QQ=="]},
        ),
    ],
)
def test_images_and_files_go_into_their_lists(block: dict[str, Any], expected: dict[str, Any]) -> None:
    message = HumanMessage([{"type": "text", "text": "看"}, block, "这个"])

    assert {"prompt": "看这个", **expected} == build_input(message)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "file_id": "image_1"},
        {"type": "image", "base64": "QQ=="},
        {"type": "audio", "url": "https://example.com/1.mp3"},
        {"type": "tool_use", "id": "1"},
        {"type": "text"},
        {"text": "no type"},
        {},
    ],
)
def test_a_block_that_cannot_be_sent_is_refused_not_dropped(block: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="content block"):
        build_body(HumanMessage([block]))


@pytest.mark.parametrize("kind", ["image", "file"])
def test_an_attachment_of_a_system_message_is_refused_not_dropped(kind: str) -> None:
    message = SystemMessage([{"type": "text", "text": "看"}, {"type": kind, "url": IMAGE}])

    with pytest.raises(ValueError, match=r"^images and files are only supported in human messages$"):
        build_body(message, HUMAN)


def test_system_messages_may_be_blocks_of_text() -> None:
    system = SystemMessage([{"type": "text", "text": "简短"}, "回答。"])

    assert build_input(system, HUMAN) == build_input(SYSTEM, HUMAN)


def test_the_block_in_the_error_message_is_described_without_its_data() -> None:
    with pytest.raises(ValueError, match="mime_type") as caught:
        build_body(HumanMessage([{"type": "image", "base64": "c2VjcmV0"}]))

    assert "c2VjcmV0" not in str(caught.value)


def test_attachments_of_all_messages_and_fields_are_sent_once_oldest_first() -> None:
    first = HumanMessage([{"type": "image", "url": A}, {"type": "file", "url": F}, "一"])
    second = HumanMessage([{"type": "image", "url": B}, {"type": "image", "url": A}, "二"])

    sent = build_input(first, AI, second, image_list=[C, B], file_list=G)

    assert sent["image_list"] == [A, B, C]
    assert sent["file_list"] == [F, G]
    assert [message["content"] for message in sent["messages"]] == ["一", "绿茶。", "二"]


def test_a_session_gets_only_the_attachments_of_the_new_question() -> None:
    first = HumanMessage([{"type": "image", "url": A}, "一"])
    second = HumanMessage([{"type": "image", "url": B}, "二"])

    expected = {"prompt": "二", "session_id": "s", "image_list": [B, C]}
    assert expected == build_input(first, AI, second, session_id="s", image_list=[C])


def test_uploaded_files_in_messages_are_named_before_those_of_the_options() -> None:
    blocks = [{"type": "file", "file_id": f"file_session_{n}"} for n in (1, 2)]
    rag_options = RagOptions(pipeline_ids="kb", session_file_ids=["file_session_3", "file_session_1"])

    body = build_body(HumanMessage([*blocks, "比较"]), rag_options=rag_options)

    assert body["input"] == {"prompt": "比较"}
    assert body["parameters"]["rag_options"] == {
        "pipeline_ids": ["kb"],
        "session_file_ids": ["file_session_1", "file_session_2", "file_session_3"],
    }
    without_options = build_body(HumanMessage([*blocks, "比较"]))["parameters"]["rag_options"]
    assert without_options == {"session_file_ids": ["file_session_1", "file_session_2"]}


def test_uploaded_files_in_messages_count_among_the_ten_of_a_call() -> None:
    blocks = [{"type": "file", "file_id": f"file_session_{n}"} for n in range(6)]
    other_ids = [f"file_session_{n}" for n in range(5, 11)]

    with pytest.raises(ValueError, match=r"at most 10 session files .*, got 11"):
        build_body(HumanMessage([*blocks, "看"]), rag_options=RagOptions(session_file_ids=other_ids))


# -- fields ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "wire"),
    [
        ("enable_thinking", False, "enable_thinking"),
        ("enable_web_search", True, "enable_web_search"),
        ("enable_system_time", False, "enable_system_time"),
        ("dialog_round", 0, "dialog_round"),
        ("app_model", "qwen-test", "model_id"),
        ("flow_stream_mode", "message_format", "flow_stream_mode"),
        ("mcp_servers", ["maps"], "mcp_servers"),
        ("has_thoughts", True, "has_thoughts"),
        ("has_thoughts", False, "has_thoughts"),
        ("temperature", 0.0, "temperature"),
        ("top_p", 0.5, "top_p"),
        ("top_k", 10, "top_k"),
        ("seed", 0, "seed"),
        ("max_tokens", 9, "max_tokens"),
    ],
)
def test_a_parameter_option_is_sent_in_parameters(option: str, value: Any, wire: str) -> None:
    body = build_body(HUMAN, **{option: value})

    assert body == {
        "input": {"prompt": "喝什么？"},
        "parameters": {"incremental_output": True, wire: value},
    }


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("memory_id", "m"),
        ("doc_tag_codes", ["t"]),
        ("doc_reference_type", "indexed"),
        ("image_list", [IMAGE]),
        ("file_list", [FILE]),
    ],
)
def test_an_input_option_is_sent_in_input(option: str, value: Any) -> None:
    body = build_body(HUMAN, **{option: value})

    assert body == {
        "input": {"prompt": "喝什么？", option: value},
        "parameters": {"incremental_output": True},
    }


def test_no_field_is_forgotten() -> None:
    values: dict[str, Any] = {
        "session_id": "s",
        "memory_id": "m",
        "rag_options": RagOptions(pipeline_ids=["kb"]),
        "biz_params": BizParams(city="杭州"),
        "has_thoughts": True,
        "enable_thinking": True,
        "enable_web_search": True,
        "enable_system_time": True,
        "dialog_round": 1,
        "app_model": "qwen-test",
        "flow_stream_mode": "agent_format",
        "mcp_servers": ["maps"],
        "image_list": [IMAGE],
        "file_list": [FILE],
        "doc_tag_codes": ["t"],
        "doc_reference_type": "simple",
        "temperature": 0.5,
        "top_p": 0.5,
        "top_k": 1,
        "seed": 1,
        "max_tokens": 1,
        "extra_parameters": {"p": 1},
        "extra_input": {"i": 1},
    }
    not_sent = {
        "agent_version",
        "answer_node",
        "legacy_history",
        "stop",
        "streaming",
        "tool_calling",
        "citation_markers",
        "accept_missing_stop",
        "history",
        "session_key",
    }

    sent = build_body(HUMAN, **values)

    assert set(CompletionFields.model_fields) - not_sent == set(values)
    names = {*sent["input"], *sent["parameters"]} - {"prompt", "incremental_output"}
    renamed = {"app_model": "model_id", "extra_parameters": "p", "extra_input": "i"}
    assert {renamed.get(name, name) for name in values} == names


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"enable_thinking": True}, {"enable_thinking": True, "has_thoughts": True}),
        (
            {"enable_thinking": True, "has_thoughts": True},
            {"enable_thinking": True, "has_thoughts": True},
        ),
        ({"enable_thinking": False}, {"enable_thinking": False}),
        (
            {"enable_thinking": False, "has_thoughts": True},
            {"enable_thinking": False, "has_thoughts": True},
        ),
        ({}, {}),
    ],
)
def test_thinking_implies_thoughts(options: dict[str, Any], expected: dict[str, Any]) -> None:
    assert expected | {"incremental_output": True} == build_parameters(**options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"answer_node": "End"}, {"flow_stream_mode": "message_format_plus"}),
        (
            {"answer_node": "End", "flow_stream_mode": "agent_format"},
            {"flow_stream_mode": "agent_format"},
        ),
    ],
)
def test_an_answer_node_implies_a_stream_of_nodes(
    options: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert build_parameters(**options) == expected | {"incremental_output": True}


def test_rag_options_and_biz_params_are_sent_as_objects() -> None:
    rag_options = RagOptions(pipeline_ids="kb", tags="a", metadata_filter={"year": 2025})
    biz_params = BizParams(city="杭州", user_defined_tokens={"tool": "token"})

    body = build_body(HUMAN, rag_options=rag_options, biz_params=biz_params)

    expected = {"pipeline_ids": ["kb"], "tags": ["a"], "metadata_filter": {"year": 2025}}
    assert expected == body["parameters"]["rag_options"]
    assert body["input"]["biz_params"] == {
        "city": "杭州",
        "user_defined_tokens": {"tool": {"user_token": "token"}},
    }
    assert json.dumps(body)


def test_dicts_are_accepted_as_options() -> None:
    body = build_body(HUMAN, rag_options={"pipeline_ids": ["kb"]}, biz_params={"city": "杭州"})

    assert body["parameters"]["rag_options"] == {"pipeline_ids": ["kb"]}
    assert body["input"]["biz_params"] == {"city": "杭州"}


@pytest.mark.parametrize(("streaming", "stream"), [(None, True), (True, True), (False, False)])
def test_increments_are_requested_only_when_streaming(*, streaming: bool | None, stream: bool) -> None:
    request = build_request("app", [HUMAN], CompletionFields(streaming=streaming))

    assert stream is request.stream
    assert ({"incremental_output": True} if stream else {}) == request.body["parameters"]


def test_extras_are_merged_last() -> None:
    body = build_body(
        HUMAN,
        memory_id="m",
        temperature=0.5,
        extra_input={"memory_id": "other", "new": None},
        extra_parameters={"temperature": 1, "incremental_output": False, "new": {"a": 1}},
    )

    assert body["input"] == {"prompt": "喝什么？", "memory_id": "other", "new": None}
    assert body["parameters"] == {"temperature": 1, "incremental_output": False, "new": {"a": 1}}


def test_building_a_request_changes_no_message_and_no_option() -> None:
    message = HumanMessage([{"type": "image", "url": IMAGE}, "看"])
    options = CompletionFields(image_list=[C], extra_parameters={"a": 1}, rag_options={"tags": ["t"]})
    before = message.model_dump_json(), options.model_dump_json()

    assert build_request("app", [message], options) == build_request("app", [message], options)
    assert before == (message.model_dump_json(), options.model_dump_json())


@pytest.mark.parametrize(
    "url", ["cat.png", "/home/me/cat.png", "file:///home/me/cat.png", "C:\\\\cat.png"]
)
def test_a_local_path_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"^invalid URL .* in `image_list`: .* as base64"):
        build_body(HUMAN, image_list=[url])
    with pytest.raises(ValueError, match="base64"):
        build_body(HumanMessage([{"type": "image", "url": url}, "看"]))


@pytest.mark.parametrize("options", [{}, {"session_id": "s"}])
@pytest.mark.parametrize(
    "message", [HumanMessage(""), HumanMessage(" \n"), HumanMessage([{"type": "image", "url": A}])]
)
def test_a_question_needs_text(message: BaseMessage, options: dict[str, Any]) -> None:
    advice = "; add a text to the newest human message$"
    with pytest.raises(ValueError, match=rf"^missing text: the question has no text.*{advice}"):
        build_body(message, **options)
    with pytest.raises(ValueError, match=rf"^missing text: the question has no text.*{advice}"):
        check_question_has_text([HUMAN, AI, message])


@pytest.mark.parametrize(
    "messages",
    [
        [HUMAN, SYSTEM],
        [HumanMessage(""), HUMAN],
        [SYSTEM],
        [HumanMessage(""), AI, ToolMessage("答", tool_call_id="1")],
        *(
            [HumanMessage([{"type": "image", "url": A}, block])]
            for block in ["看", *({"type": t, "text": "看"} for t in ("text", "text-plain", "file"))]
        ),
        [HumanMessage([{"type": "audio", "base64": "QQ==", "mime_type": "audio/mp3"}, "听"])],
    ],
)
def test_a_question_with_text_is_accepted_before_its_files_are_uploaded(
    messages: list[BaseMessage],
) -> None:
    check_question_has_text(messages)


def test_a_session_gets_the_attachments_of_all_new_messages() -> None:
    picture = HumanMessage([{"type": "image", "url": A}, {"type": "file", "url": F}])
    question = HumanMessage([{"type": "image", "url": B}, "二"])
    earlier = HumanMessage([{"type": "image", "url": C}, "一"])

    expected = {"prompt": "二", "session_id": "s", "image_list": [A, B], "file_list": [F]}
    assert expected == build_input(earlier, AIMessage(""), picture, question, session_id="s")
