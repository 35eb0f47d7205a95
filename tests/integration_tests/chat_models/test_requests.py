"""Tests of requests that result from fields, keyword arguments and the config of a call."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypedDict
from uuid import UUID

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, trim_messages
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langgraph.graph import END, START, StateGraph

from langchain_bailian_app import BailianAppChatModel, BailianRetriever, BizParams, RagOptions
from tests.call_styles import all_call_styles

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.runnables import RunnableConfig

    from langchain_bailian_app.emulator import BailianEmulator
    from tests.call_styles import CallStyle

CONFIG: RunnableConfig = {"configurable": {"bailian_session_id": "from-config"}}


def last_body(bailian: BailianEmulator) -> dict[str, Any]:
    """Return the body of the latest request."""
    return bailian.requests[-1].body


def test_every_call_is_a_stream_unless_streaming_is_false(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    model = make_model()
    model.invoke("?")

    assert last_body(bailian)["parameters"] == {"incremental_output": True}
    assert bailian.requests[-1].headers["x-dashscope-sse"] == "enable"
    assert bailian.requests[-1].headers["user-agent"].startswith("langchain-bailian-app/")

    model.invoke("?", streaming=False)

    assert last_body(bailian)["parameters"] == {}
    assert "x-dashscope-sse" not in bailian.requests[-1].headers


def test_a_model_rebuilt_by_configurable_fields_still_streams(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    model = make_model().configurable_fields(memory_id=ConfigurableField(id="memory"))
    model.invoke("?", {"configurable": {"memory": "m1"}})

    assert last_body(bailian) == {
        "input": {"prompt": "?", "memory_id": "m1"},
        "parameters": {"incremental_output": True},
    }


def test_keywords_of_a_call_override_the_fields(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    model = make_model(
        rag_options=RagOptions(pipeline_ids=["kb1"]), memory_id="m1", temperature=0.5, top_p=0.1
    )
    model.invoke(
        "?",
        rag_options={"pipeline_ids": ["kb2"], "tags": "t"},
        biz_params={"user_prompt_params": {"city": "杭州"}},
        temperature=0.0,
        enable_thinking=True,
        app_model="qwen-max",
        memory_id=None,
    )

    assert last_body(bailian) == {
        "input": {
            "prompt": "?",
            "memory_id": "m1",
            "biz_params": {"user_prompt_params": {"city": "杭州"}},
        },
        "parameters": {
            "incremental_output": True,
            "enable_thinking": True,
            "has_thoughts": True,
            "model_id": "qwen-max",
            "temperature": 0.0,
            "top_p": 0.1,
            "rag_options": {"pipeline_ids": ["kb2"], "tags": ["t"]},
        },
    }


def test_bound_keywords_are_sent(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    make_model().bind(memory_id="m2", stop=["x"]).invoke("?")

    assert last_body(bailian)["input"] == {"prompt": "?", "memory_id": "m2"}


def test_tokens_reach_the_wire_and_no_repr(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    tokens = {"user_defined_tokens": {"tool": {"user_token": "planted"}}}
    bound = make_model().bind(biz_params=tokens)
    bound.invoke("?")

    assert last_body(bailian)["input"]["biz_params"] == {
        "user_defined_tokens": {"tool": {"user_token": "[removed]"}}
    }
    assert "planted" not in repr(bound)
    assert BizParams(**tokens).to_wire() == tokens


@pytest.mark.parametrize(
    ("keyword", "error", "message"),
    [
        ({"sesion_id": "s"}, TypeError, "did you mean `session_id`"),
        ({"nonsense_at_all": 1}, TypeError, "unknown argument `nonsense_at_all`"),
        ({"api_key": "k"}, TypeError, "cannot pass `api_key` per call"),
        ({"tools": [{}]}, NotImplementedError, "runs its own tools"),
        ({"response_format": {}}, NotImplementedError, "use `with_structured_output`"),
        ({"temperature": "hot"}, ValueError, "temperature"),
        ({"rag_options": {"file_ids": ["f"]}}, ValueError, "pipeline_ids"),
    ],
)
def test_a_wrong_keyword_is_rejected_before_anything_is_sent(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    keyword: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    before = len(bailian.requests)
    for call in (make_model().invoke, lambda *a, **k: list(make_model().stream(*a, **k))):
        with pytest.raises(error, match=message):
            call("?", **keyword)

    assert len(bailian.requests) == before


@pytest.mark.parametrize(
    "keyword",
    [
        {"tools": None},
        {"sesion_id": None},
        {"stream": True},
        {"stream_usage": True},
        {"model": "traced"},
        {"ls_structured_output_format": {"kwargs": {}, "schema": {}}},
    ],
)
def test_keywords_of_langchain_do_no_harm(
    make_model: Callable[..., BailianAppChatModel], keyword: dict[str, Any]
) -> None:
    assert make_model().invoke("?", **keyword).text


def test_bind_tools_names_the_alternative(
    make_model: Callable[..., BailianAppChatModel],
) -> None:
    with pytest.raises(NotImplementedError, match="pass the application as a tool to another model"):
        make_model().bind_tools([])


def test_extra_fields_are_merged_last(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    model = make_model(temperature=0.1, extra_input={"next_year": 1})
    model.invoke("?", extra_parameters={"temperature": 0.9, "cip_service_codes": {}})

    assert last_body(bailian)["input"] == {"prompt": "?", "next_year": 1}
    assert last_body(bailian)["parameters"]["temperature"] == 0.9
    assert last_body(bailian)["parameters"]["cip_service_codes"] == {}


def test_images_in_content_blocks_reach_the_wire(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    message = HumanMessage(
        [
            {"type": "text", "text": "看图"},
            {"type": "image", "base64": "AAAA", "mime_type": "image/png"},
            {"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}},
            {"type": "file", "url": "https://files.example/1.pdf"},
        ]
    )
    make_model(image_list=["https://pictures.example/2.png"]).invoke([message])

    assert last_body(bailian)["input"] == {
        "prompt": "看图",
        "image_list": [
            "data:image/png;base64,AAAA",
            "https://pictures.example/1.png",
            "https://pictures.example/2.png",
        ],
        "file_list": ["https://files.example/1.pdf"],
    }


@all_call_styles
async def test_content_blocks_of_langchain_js_reach_the_wire(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], call_style: CallStyle
) -> None:
    """As agent-chat-ui sends them."""
    blocks: list[Any] = [
        {"type": "text", "text": "看图"},
        {"type": "image", "mimeType": "image/png", "data": "AAAA", "metadata": {"name": "a.png"}},
        {
            "type": "file",
            "mimeType": "application/pdf",
            "data": "JVBERg==",
            "metadata": {"filename": "a.pdf"},
        },
    ]
    tracer = RunCollectorCallbackHandler()  # LangChain converts the blocks for tracers
    await call_style(make_model(), [HumanMessage(blocks)], config={"callbacks": [tracer]})

    assert tracer.traced_runs
    assert last_body(bailian)["input"] == {
        "prompt": "看图",
        "image_list": ["data:image/png;base64,AAAA"],
        "file_list": ["data:application/pdf;base64,JVBERg=="],
    }


# -- explicit sessions -----------------------------------------------------------------------------


def test_an_explicit_session_continues_in_the_cloud(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    model = make_model()
    first = model.invoke([SystemMessage("简短。"), HumanMessage("我叫小明。")])
    session_id = first.response_metadata["session_id"]
    second = model.invoke("保税？", session_id=session_id)
    with pytest.warns(UserWarning, match=r"^3 messages of this call are not sent"):
        third = model.invoke(
            [SystemMessage("简短。"), HumanMessage("保税？"), second, HumanMessage("归类？")],
            session_id=session_id,
        )

    assert last_body(bailian)["input"] == {"prompt": "归类？", "session_id": session_id}
    assert third.response_metadata["session_id"] == session_id
    assert [turn.prompt for turn in bailian.session(session_id)][-2:] == ["保税？", "归类？"]


def test_the_system_message_is_prepended_to_the_first_prompt_of_a_session(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    make_model().invoke([SystemMessage("简短。"), HumanMessage("保税？")], session_id="s1")

    assert last_body(bailian)["input"] == {"prompt": "简短。\n\n保税？", "session_id": "s1"}


@pytest.mark.parametrize(
    "messages",
    [
        [HumanMessage("一"), HumanMessage("二")],
        [HumanMessage("一"), AIMessage("答")],
        [HumanMessage("一"), AIMessage("答"), HumanMessage("二"), HumanMessage("三")],
    ],
)
def test_a_session_takes_exactly_one_new_human_message(
    make_model: Callable[..., BailianAppChatModel], messages: list[Any]
) -> None:
    with pytest.raises(ValueError, match="exactly one new human message"):
        make_model().invoke(messages, session_id="s1")


def test_a_keyword_overrides_the_config_which_overrides_the_field(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    model = make_model(session_id="from-field")
    session_ids = []
    for config, kwargs in [(None, {}), (CONFIG, {}), (CONFIG, {"session_id": "from-keyword"})]:
        model.invoke("?", config, **kwargs)
        session_ids.append(last_body(bailian)["input"]["session_id"])

    assert session_ids == ["from-field", "from-config", "from-keyword"]


class State(TypedDict):
    question: str


def ask_in_graph(model: BaseChatModel, config: RunnableConfig) -> None:
    graph = StateGraph(State)
    graph.add_node("ask", lambda state: {"question": model.invoke(state["question"]).text})
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    graph.compile().invoke({"question": "?"}, config)


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.invoke("?", CONFIG),
        lambda model: list(model.stream("?", CONFIG)),
        lambda model: model.batch(["?"], [CONFIG]),
        lambda model: model.with_config(CONFIG).invoke("?"),
        lambda model: (RunnableLambda(str) | model).invoke("?", CONFIG),
        lambda model: RunnableLambda(lambda text: model.invoke(text).text).invoke("?", CONFIG),
        lambda model: model.stream_events("?", CONFIG, version="v3").output,
        lambda model: ask_in_graph(model, CONFIG),
    ],
    ids=["invoke", "stream", "batch", "with_config", "chain", "lambda", "v3", "graph"],
)
def test_the_session_in_a_config_reaches_the_request(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], call: Any
) -> None:
    call(make_model())

    assert last_body(bailian)["input"] == {"prompt": "?", "session_id": "from-config"}


async def test_the_session_in_a_config_reaches_an_asynchronous_request(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    model = make_model()
    await model.ainvoke("?", CONFIG)
    [_ async for _ in model.astream("?", CONFIG)]
    [_ async for _ in model.astream_events("?", CONFIG, version="v2")]
    await (await model.astream_events("?", CONFIG, version="v3")).output

    sessions = [request.body["input"].get("session_id") for request in bailian.requests[-4:]]
    assert sessions == ["from-config"] * 4


def test_configurable_keys_of_other_packages_are_ignored(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    make_model().invoke("?", {"configurable": {"session_id": "theirs", "thread_id": "t"}})

    assert last_body(bailian)["input"] == {"prompt": "?"}


# -- tokens ----------------------------------------------------------------------------------------


def test_tokens_are_counted_without_a_request(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    before = len(bailian.requests)
    model = make_model()
    messages = [HumanMessage("你好，世界"), AIMessage("你好"), HumanMessage("再见")]

    assert model.get_num_tokens("你好，世界") == 3
    assert model.get_num_tokens_from_messages(messages) == 3 + 1 + 1 + 3 * 5
    assert trim_messages(messages, max_tokens=12, token_counter=model) == messages[1:]
    assert len(bailian.requests) == before


# -- white space around ids -------------------------------------------------------


@all_call_styles
@pytest.mark.parametrize("source", ["field", "environment", "config", "assignment", "copy"])
async def test_white_space_around_a_pasted_app_id_is_removed(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    monkeypatch: pytest.MonkeyPatch,
    call_style: CallStyle,
    source: str,
) -> None:
    pasted = f" {bailian.app_id}\n"
    model: Any = make_model()
    match source:
        case "field":
            model = make_model(pasted)
        case "environment":
            monkeypatch.setenv("BAILIAN_APP_ID", pasted)
            model = BailianAppChatModel(base_url=bailian.base_url, api_key=bailian.api_key)
        case "config":
            fields = {"app_id": ConfigurableField(id="app")}
            model = make_model("other").configurable_fields(**fields)
            model = model.with_config(configurable={"app": pasted})
        case "assignment":
            model.app_id = pasted
        case "copy":
            model = model.model_copy(update={"app_id": pasted})

    assert await call_style(model)
    assert bailian.requests[-1].app_id == bailian.app_id
    assert model.invoke("?").response_metadata["app_id"] == bailian.app_id


@all_call_styles
async def test_white_space_around_other_ids_is_removed(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    monkeypatch: pytest.MonkeyPatch,
    call_style: CallStyle,
) -> None:
    monkeypatch.setenv("DASHSCOPE_WORKSPACE", " ws-1\n")
    rag_options = {"pipeline_ids": ["customs001 "], "session_file_ids": []}

    await call_style(make_model(), memory_id="m1\n", rag_options=rag_options)

    assert bailian.requests[-1].headers["x-dashscope-workspace"] == "ws-1"
    assert last_body(bailian)["input"]["memory_id"] == "m1"
    assert last_body(bailian)["parameters"]["rag_options"]["pipeline_ids"] == ["customs001"]


def test_white_space_around_the_ids_of_a_retriever_is_removed(
    bailian: BailianEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection: Any = {"base_url": bailian.base_url, "api_key": bailian.api_key}
    monkeypatch.setenv("BAILIAN_APP_ID", f"{bailian.app_id}\n")

    assert BailianRetriever(**connection).invoke("海关")
    assert bailian.requests[-1].app_id == bailian.app_id
    assert BailianRetriever(pipeline_id=" customs001", **connection).invoke("海关")
    assert BailianRetriever(**connection).invoke("海关", pipeline_id="customs001 ")
    assert bailian.requests[-1].path == "/api/v1/indices/pipeline/customs001/retrieve"


# -- values of variables ---------------------------------------------------------


@all_call_styles
async def test_values_that_json_does_not_have_are_sent_as_pydantic_writes_them(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], call_style: CallStyle
) -> None:
    biz_params = {
        "price": Decimal("1.50"),
        "day": datetime(2025, 3, 1, 8, tzinfo=UTC),
        "user_prompt_params": {"id": UUID(int=7), "pair": (1, 2)},
    }

    await call_style(make_model(), biz_params=biz_params)

    assert last_body(bailian)["input"]["biz_params"] == {
        "price": "1.50",
        "day": "2025-03-01T08:00:00Z",
        "user_prompt_params": {"id": "00000000-0000-0000-0000-000000000007", "pair": [1, 2]},
    }


@all_call_styles
async def test_a_value_that_cannot_be_sent_is_rejected_before_the_call(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], call_style: CallStyle
) -> None:
    before = len(bailian.requests)

    with pytest.raises(ValueError, match=r"invalid `rows\[1\]`: .*got nan"):
        await call_style(make_model(), biz_params={"rows": [1, float("nan")]})

    assert len(bailian.requests) == before


# -- names of options ------------------------------------------------------------


@all_call_styles
async def test_a_misspelled_option_of_a_call_is_rejected(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], call_style: CallStyle
) -> None:
    before = len(bailian.requests)

    with pytest.raises(ValueError, match=r"did you mean `pipeline_ids`\?"):
        await call_style(make_model(), rag_options={"pipeline_id": "kb"})

    assert len(bailian.requests) == before


async def test_the_warning_about_an_unknown_option_points_at_the_call(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    model = make_model()
    options: Any = {"rag_options": {"rewrite_level": 2}}

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.invoke("?", **options)
        list(model.stream("?", **options))
        await model.ainvoke("?", **options)
        [chunk async for chunk in model.astream("?", **options)]

    assert ["rewrite_level" in str(warning.message) for warning in caught] == [True] * 4
    assert {warning.filename for warning in caught} == {__file__}
    assert len({warning.lineno for warning in caught}) == 4
    assert last_body(bailian)["parameters"]["rag_options"] == {"rewrite_level": 2}


def test_an_unknown_option_of_a_model_is_reported_only_when_it_is_created(
    make_model: Callable[..., BailianAppChatModel],
) -> None:
    with pytest.warns(UserWarning, match="rewrite_level"):
        model = make_model(rag_options={"rewrite_level": 2})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.invoke("?", memory_id="m").text
