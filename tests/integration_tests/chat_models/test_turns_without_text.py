"""Tests of messages without text, such as answers that contain only reasoning.

The platform rejects a turn without content. Such a turn in a stored conversation must not end it.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    message_chunk_to_message,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from langchain_bailian_app.emulator import App, BailianEmulator, Reply, Turn
from langchain_bailian_app.errors import BailianRequestError
from langchain_bailian_app.files import BailianFiles
from langchain_bailian_app.sessions import InMemorySessionStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.runnables import RunnableConfig

    from langchain_bailian_app import BailianAppChatModel

    MakeModel = Callable[..., BailianAppChatModel]

IN_THREAD: RunnableConfig = {"configurable": {"thread_id": "t"}}
PICTURE = "https://pictures.example/1.png"
ONE, TWO, THREE = HumanMessage("一"), HumanMessage("二"), HumanMessage("三")
ONLY_PICTURE = HumanMessage([{"type": "image", "url": PICTURE}])
CALL_STYLES = ["invoke", "ainvoke", "stream", "astream"]
CONVERSATIONS: dict[str, dict[str, Any]] = {
    "messages": {"history": "messages"},
    "session": {"history": "session"},
    "thread": {"history": "thread"},
    "session id": {"session_id": "mine"},
}

unsent_messages_allowed = pytest.mark.filterwarnings("ignore:.* not sent to application:UserWarning")


async def call(
    style: str, model: BailianAppChatModel, messages: list[BaseMessage], **kwargs: Any
) -> AIMessage:
    """Call a model in one of the four ways."""
    if style == "invoke":
        return model.invoke(messages, IN_THREAD, **kwargs)
    if style == "ainvoke":
        return await model.ainvoke(messages, IN_THREAD, **kwargs)
    if style == "stream":
        chunks = list(model.stream(messages, IN_THREAD, **kwargs))
    else:
        chunks = [chunk async for chunk in model.astream(messages, IN_THREAD, **kwargs)]
    message = message_chunk_to_message(reduce(add, chunks))
    assert isinstance(message, AIMessage)
    return message


def think_first(turn: Turn) -> Reply:
    """Answer the first two questions with reasoning only."""
    return Reply("" if len(turn.history) < 2 else "想好了。", reasoning="想。")


def cut_to_nothing(turn: Turn) -> Reply:
    """Answer with a text that begins with the stop sequence, then with others."""
    return Reply("完。" if turn.prompt == "一" else "好。")


@pytest.fixture
def make_talking_model(bailian: BailianEmulator, make_model: MakeModel) -> Any:
    """Return a function that creates models of a new application."""
    app_ids: list[str] = []

    def make(app: App | None = None, **fields: Any) -> BailianAppChatModel:
        bailian.reset()
        app_ids.append(bailian.add_app(app or App("talking", answer=lambda turn: f"答{turn.images}")))
        return make_model(app_ids[-1], session_store=InMemorySessionStore(), **fields)

    yield make
    for app_id in app_ids:
        del bailian.apps[app_id]


def sent_inputs(bailian: BailianEmulator) -> list[dict[str, Any]]:
    return [request.body["input"] for request in bailian.requests]


# -- answers without text --------------------------------------------------------------------------


@pytest.mark.parametrize("empty_turns", ["refused", "accepted"])
@pytest.mark.parametrize("style", CALL_STYLES)
async def test_a_conversation_continues_after_an_answer_that_only_reasons(
    bailian: BailianEmulator, make_talking_model: MakeModel, style: str, empty_turns: Any
) -> None:
    model = make_talking_model(
        App("thinks", answer=think_first, thinking="on", empty_turns=empty_turns), has_thoughts=True
    )
    first = await call(style, model, [ONE])
    second = await call(style, model, [ONE, first, TWO])

    assert (first.text, first.additional_kwargs["reasoning_content"]) == ("", "想。")
    assert second.response_metadata["finish_reason"] == "stop"
    assert sent_inputs(bailian)[1:] == [
        {"messages": [{"role": "user", "content": "一"}, {"role": "user", "content": "二"}]}
    ]


@pytest.mark.parametrize("style", CALL_STYLES)
async def test_a_session_continues_after_answers_without_text(
    bailian: BailianEmulator, make_talking_model: MakeModel, style: str
) -> None:
    model = make_talking_model(
        App("thinks", answer=think_first, thinking="on"), has_thoughts=True, history="session"
    )
    messages: list[BaseMessage] = []
    for question in (ONE, TWO, THREE):
        messages += [question, await call(style, model, [*messages, question])]
    session_id = messages[1].response_metadata["session_id"]

    assert sent_inputs(bailian) == [
        {"prompt": "一"},
        {"prompt": "二", "session_id": session_id},
        {"prompt": "三", "session_id": session_id},
    ]
    assert [m.response_metadata["session_turn"] for m in messages[1::2]] == [1, 2, 3]
    assert [m.text for m in messages[1::2]] == ["", "", "想好了。"]
    assert [r.prompt for r in bailian.session(session_id)] == ["一", "二", "三"]


@pytest.mark.parametrize("history", ["messages", "session"])
@pytest.mark.parametrize("style", CALL_STYLES)
async def test_a_conversation_continues_after_an_answer_that_stop_cut_to_nothing(
    bailian: BailianEmulator, make_talking_model: MakeModel, style: str, history: str
) -> None:
    model = make_talking_model(App("cut", answer=cut_to_nothing), history=history, stop=["完"])
    first = await call(style, model, [ONE])
    second = await call(style, model, [ONE, first, TWO])

    assert (first.text, second.text) == ("", "好。")
    assert sent_inputs(bailian)[-1] == {
        "messages": [{"role": "user", "content": "一"}, {"role": "user", "content": "二"}]
    }


def test_a_changed_conversation_with_an_answer_without_text_does_not_continue_its_session(
    bailian: BailianEmulator, make_talking_model: MakeModel
) -> None:
    model = make_talking_model(
        App("thinks", answer=think_first, thinking="on"), has_thoughts=True, history="session"
    )
    first = model.invoke([ONE])
    edited = first.model_copy(update={"content": "编造。"})
    for messages in (
        [THREE, first, TWO],  # another question
        [ONE, edited, TWO],
        [ONE, AIMessage(""), first, TWO],
        [HumanMessage(""), ONE, first, TWO],
        [HumanMessage([{"type": "image", "url": PICTURE}, "一"]), first, TWO],
    ):
        assert "session_id" not in sent_inputs_of(bailian, model, messages)
    assert "session_id" in sent_inputs_of(bailian, model, [ONE, first, TWO])


def sent_inputs_of(
    bailian: BailianEmulator, model: BailianAppChatModel, messages: list[BaseMessage]
) -> dict[str, Any]:
    """Call the model and return the input that was sent."""
    model.invoke(messages)
    return sent_inputs(bailian)[-1]


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("agent2", {"agent_version": "2.0"}, {"prompt": "用户：一\n\n用户：二"}),
        (
            "rag",
            {"legacy_history": True},
            {"prompt": "二", "history": [{"user": "一", "bot": ""}]},
        ),
        (
            "workflow",
            {},
            {"messages": [{"role": "user", "content": "一"}, {"role": "user", "content": "二"}]},
        ),
    ],
)
@pytest.mark.parametrize("style", CALL_STYLES)
async def test_every_kind_of_application_continues_after_an_answer_without_text(
    bailian: BailianEmulator,
    make_talking_model: MakeModel,
    style: str,
    kind: Any,
    fields: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    model = make_talking_model(App("kind", kind=kind, answer=lambda _: "好。"), **fields)
    answer = await call(style, model, [ONE, AIMessage(""), TWO])

    assert answer.text == "好。"
    assert sent_inputs(bailian) == [expected]


def test_a_checkpointed_graph_continues_after_an_answer_without_text(
    bailian: BailianEmulator, make_talking_model: MakeModel
) -> None:
    model = make_talking_model(App("thinks", answer=think_first, thinking="on"), has_thoughts=True)
    graph = StateGraph(MessagesState)
    graph.add_node("ask", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_edge(START, "ask")
    compiled = graph.compile(checkpointer=InMemorySaver())
    for question in (ONE, TWO, THREE):
        state = compiled.invoke({"messages": [question]}, IN_THREAD)

    assert [message.text for message in state["messages"]] == ["一", "", "二", "", "三", "想好了。"]


# -- other messages without text -------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        AIMessage(""),
        AIMessage(" \n"),
        AIMessage([{"type": "thinking", "thinking": "想", "signature": "s"}]),
        AIMessage([{"type": "reasoning", "reasoning": "想"}]),
        AIMessage([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "想"}]}]),
        ChatMessage("", role="assistant"),
        HumanMessage(""),
        HumanMessage([{"type": "text", "text": "\u3000"}]),
        SystemMessage(""),
        SystemMessage([{"type": "text", "text": ""}]),
    ],
    ids=str,
)
@pytest.mark.parametrize("empty_turns", ["refused", "accepted"])
def test_a_message_without_text_is_not_sent(
    bailian: BailianEmulator, make_talking_model: MakeModel, message: BaseMessage, empty_turns: Any
) -> None:
    model = make_talking_model(App("any", answer=lambda _: "好。", empty_turns=empty_turns))
    model.invoke([message, ONE, AIMessage("答。"), message, TWO])
    model.invoke([message, TWO])

    assert sent_inputs(bailian) == [
        {
            "messages": [
                {"role": "user", "content": "一"},
                {"role": "assistant", "content": "答。"},
                {"role": "user", "content": "二"},
            ]
        },
        {"prompt": "二"},
    ]


@pytest.mark.parametrize("conversation", ["session", "thread", "session id"])
def test_a_prompt_of_a_session_begins_with_no_blank_system_message(
    bailian: BailianEmulator, make_talking_model: MakeModel, conversation: str
) -> None:
    model = make_talking_model()
    model.invoke([SystemMessage(""), HumanMessage(" "), ONE], IN_THREAD, **CONVERSATIONS[conversation])

    assert sent_inputs(bailian)[0]["prompt"] == "一"


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("style", CALL_STYLES)
async def test_a_picture_and_then_a_question_about_it_are_sent_together(
    bailian: BailianEmulator, make_talking_model: MakeModel, style: str, conversation: str
) -> None:
    model = make_talking_model()
    question = HumanMessage("这是什么？")
    answer = await call(style, model, [ONLY_PICTURE, question], **CONVERSATIONS[conversation])

    assert answer.text == f"答{(PICTURE,)}"
    sent = sent_inputs(bailian)[0]
    assert (sent["prompt"], sent["image_list"]) == ("这是什么？", [PICTURE])
    assert "messages" not in sent


@pytest.mark.parametrize("fields", [{}, {"agent_version": "2.0"}, {"legacy_history": True}])
def test_the_picture_and_file_of_an_earlier_message_without_text_are_sent(
    bailian: BailianEmulator, make_talking_model: MakeModel, fields: dict[str, Any]
) -> None:
    file = {"type": "file", "url": "https://files.example/1.pdf"}
    attachments = HumanMessage([{"type": "image", "url": PICTURE}, file])
    model = make_talking_model(**fields)
    model.invoke([attachments, ONE, AIMessage("答。"), TWO])

    sent = sent_inputs(bailian)[0]
    assert (sent["image_list"], sent["file_list"]) == ([PICTURE], [file["url"]])
    assert "用户：\n" not in sent.get("prompt", "")
    assert {"user": "", "bot": ""} not in sent.get("history", [])


def test_a_picture_between_two_questions_continues_the_session_and_is_sent_again_afterwards(
    bailian: BailianEmulator, make_talking_model: MakeModel
) -> None:
    model = make_talking_model(history="session")
    first = model.invoke([ONE])
    session_id = first.response_metadata["session_id"]
    messages = [ONE, first, ONLY_PICTURE, TWO]
    second = model.invoke(messages)
    third = model.invoke([*messages, second, THREE])

    assert sent_inputs(bailian)[1] == {
        "prompt": "二",
        "session_id": session_id,
        "image_list": [PICTURE],
    }
    assert (second.response_metadata["history"], second.response_metadata["session_turn"]) == (
        "session",
        2,
    )
    # It is not documented whether a session keeps pictures.
    assert [m["content"] for m in sent_inputs(bailian)[2]["messages"]] == [
        "一",
        first.text,
        "二",
        second.text,
        "三",
    ]
    assert sent_inputs(bailian)[2]["image_list"] == [PICTURE]
    assert third.response_metadata["history"] == "replayed"


# -- questions without text ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "question",
    [
        HumanMessage(""),
        HumanMessage(" \n"),
        HumanMessage([]),
        ONLY_PICTURE,
        ChatMessage("", role="user"),
    ],
    ids=["empty", "blank", "no blocks", "picture", "chat message"],
)
@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("style", CALL_STYLES)
async def test_a_newest_question_without_text_is_rejected_before_a_session_is_claimed(
    bailian: BailianEmulator,
    make_talking_model: MakeModel,
    style: str,
    conversation: str,
    question: BaseMessage,
) -> None:
    model, kwargs = make_talking_model(), CONVERSATIONS[conversation]
    first = await call(style, model, [ONE], **kwargs)
    request_count = len(bailian.requests)
    earlier = [] if conversation in {"thread", "session id"} else [ONE, first]
    for messages in ([*earlier, question], [*earlier, TWO, question]):
        with pytest.raises(
            ValueError, match=r"^missing text: .*; add a text to the newest human message$"
        ):
            await call(style, model, messages, **kwargs)
    assert len(bailian.requests) == request_count

    second = await call(style, model, [*earlier, THREE], **kwargs)  # without a warning
    if conversation in {"session", "thread"}:
        assert second.response_metadata["session_id"] == first.response_metadata["session_id"]


@pytest.mark.parametrize("use_async", [False, True])
async def test_a_question_without_text_is_rejected_before_its_file_is_uploaded(
    bailian: BailianEmulator, make_talking_model: MakeModel, *, use_async: bool
) -> None:
    files = BailianFiles(
        workspace_id="ws",
        endpoint=bailian.openapi_endpoint,
        access_key_id=bailian.access_key_id,
        access_key_secret=bailian.access_key_secret,
    )
    model = make_talking_model(files=files)
    data = {"type": "file", "base64": "5LiA", "mime_type": "text/plain", "filename": "a.txt"}
    messages = [HumanMessage([data])]
    with pytest.raises(ValueError, match=r"^missing text"):
        await model.ainvoke(messages) if use_async else model.invoke(messages)

    assert bailian.requests == []


def test_the_result_of_a_tool_may_follow_a_question_without_text(
    bailian: BailianEmulator, make_talking_model: MakeModel
) -> None:
    model = make_talking_model(tool_calling="prompt")
    look = {"name": "look", "description": "Look.", "parameters": {"type": "object"}}
    tool_call = {"name": "look", "args": {}, "id": "1"}
    messages = [
        ONLY_PICTURE,
        AIMessage("", tool_calls=[tool_call]),
        ToolMessage("猫", tool_call_id="1"),
    ]
    model.bind_tools([look]).invoke(messages)

    (sent,) = sent_inputs(bailian)
    assert [message["role"] for message in sent["messages"]] == ["system", "assistant", "user"]
    assert sent["image_list"] == [PICTURE]
    with pytest.raises(ValueError, match=r"^missing text"):  # without tools, it remains the question
        model.invoke(messages)
    assert len(bailian.requests) == 1


@pytest.mark.parametrize("question", [HumanMessage(""), HumanMessage([{"type": "text", "text": " "}])])
def test_a_schema_alone_is_no_question(
    bailian: BailianEmulator, make_talking_model: MakeModel, question: BaseMessage
) -> None:
    structured = make_talking_model().with_structured_output({"title": "A", "type": "object"})
    with pytest.raises(ValueError, match=r"^missing text"):
        structured.invoke([question])

    assert bailian.requests == []


def test_a_schema_is_a_question_about_a_picture(
    bailian: BailianEmulator, make_talking_model: MakeModel
) -> None:
    model = make_talking_model(App("json", answer=lambda _: '{"a": 1}'))

    assert model.with_structured_output({"title": "A", "type": "object"}).invoke([ONLY_PICTURE]) == {
        "a": 1
    }
    assert sent_inputs(bailian)[0]["image_list"] == [PICTURE]


@unsent_messages_allowed
@pytest.mark.parametrize("conversation", ["thread", "session id"])
def test_an_answer_without_text_separates_the_new_question_from_earlier_ones(
    bailian: BailianEmulator, make_talking_model: MakeModel, conversation: str
) -> None:
    model = make_talking_model()
    model.invoke([ONE, AIMessage(""), TWO], IN_THREAD, **CONVERSATIONS[conversation])

    assert sent_inputs(bailian)[0]["prompt"] == "二"


# -- the emulator ----------------------------------------------------------------------------------


def test_the_emulator_refuses_or_accepts_an_empty_turn(
    bailian: BailianEmulator, make_talking_model: MakeModel
) -> None:
    app = App("strict", answer=lambda turn: f"{turn.history}")
    model = make_talking_model(app)
    empty = {"messages": [{"role": "user", "content": "一"}, {"role": "assistant", "content": ""}]}
    with pytest.raises(BailianRequestError, match="Content length must be greater than 0") as caught:
        model.invoke([ONE], extra_input=empty)
    app.empty_turns = "accepted"

    assert caught.value.status_code == 400
    assert model.invoke([ONE], extra_input=empty).text == "()"
