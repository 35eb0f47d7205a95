"""`BailianKnowledgeChatModel` in all ways of calling."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, HumanMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_bailian_app import BailianKnowledgeChatModel, errors
from langchain_bailian_app.display import AnswerView
from langchain_bailian_app.emulator import ErrorReply, KnowledgeService
from tests.call_styles import all_call_styles, collect_message

if TYPE_CHECKING:
    from langchain_bailian_app.emulator import BailianEmulator
    from tests.call_styles import CallStyle

QUESTION = "周几闭馆？"
CALL_STYLES = ["invoke", "ainvoke", "stream", "astream"]


def connect(pool: BailianEmulator, **fields: Any) -> BailianKnowledgeChatModel:
    connection = {"base_url": pool.base_url, "api_key": pool.api_key, "max_retries": 0}
    return BailianKnowledgeChatModel(**{**connection, "agent_id": "aid-chat", **fields})


def describe(message: AIMessage) -> Any:
    blocks = [
        {name: value for name, value in block.items() if name not in ("index", "id", "tool_call_id")}
        for block in message.content_blocks
    ]
    metadata = {
        name: value
        for name, value in message.response_metadata.items()
        if name not in ("request_id", "model_provider")
    }
    return message.text, blocks, message.usage_metadata, metadata


@pytest.mark.parametrize("framing", ["events", "plain"])
@pytest.mark.parametrize("extra_json", ["object", "string"])
@pytest.mark.parametrize("step_order", ["plan-first", "tool-first"])
async def test_all_ways_of_calling_give_the_same_message(
    pool: BailianEmulator, framing: Any, extra_json: Any, step_order: Any
) -> None:
    switches = pool.knowledge_switches
    switches.framing, switches.extra_json, switches.step_order = framing, extra_json, step_order
    switches.done = framing == "plain"
    model: Any = connect(pool)
    messages = [await collect_message(model, style, QUESTION) for style in CALL_STYLES]

    first = messages[0]
    assert all(describe(message) == describe(first) for message in messages)
    assert "周一闭馆" in first.text
    types = [block["type"] for block in first.content_blocks]
    steps = ["server_tool_call", "server_tool_result"]
    expected = ["reasoning", *steps] if step_order == "plan-first" else [*steps, "reasoning"]
    assert types == [*expected, "text"]
    assert first.content_blocks[-1]["annotations"][0]["title"] == "开放"  # type: ignore[typeddict-item]
    assert first.additional_kwargs["doc_references"][0]["index_id"] == 1
    assert first.response_metadata["agent_id"] == "aid-chat"
    assert "app_id" not in first.response_metadata
    assert first.response_metadata["model_name"] == "qwen-plus"


@pytest.mark.parametrize(("mark", "count"), [("ref", 1), ("bracket", 1), ("none", 0)])
def test_citations_in_each_form(pool: BailianEmulator, mark: Any, count: int) -> None:
    pool.knowledge_switches.citation_mark = mark
    message = connect(pool).invoke(QUESTION)

    assert len(message.additional_kwargs.get("citations", [])) == count
    assert ("[1]" in message.text) is (mark == "bracket")
    assert message.additional_kwargs["doc_references"]


def test_an_answer_can_be_displayed(pool: BailianEmulator) -> None:
    html = AnswerView(connect(pool).invoke(QUESTION))._repr_html_()

    assert "周一闭馆" in html
    assert "开放" in html


def test_options_and_history_are_sent(pool: BailianEmulator) -> None:
    model = connect(pool, session_files=["file_1"])
    history = [HumanMessage("你好"), AIMessage("您好"), HumanMessage(QUESTION)]
    model.invoke(history, agent_version="beta", extra_input={"request_id": "mine"})

    request = pool.requests[-1]
    assert request.path == "/api/v2/apps/knowledge/chat"
    assert request.body == {
        "input": {
            "messages": [
                {"role": "user", "content": "你好"},
                {"role": "assistant", "content": "您好"},
                {"role": "user", "content": QUESTION},
            ],
            "request_id": "mine",
        },
        "parameters": {
            "agent_options": {
                "agent_id": "aid-chat",
                "agent_version": "beta",
                "session_files": ["file_1"],
            }
        },
        "stream": True,
    }


@all_call_styles
async def test_an_error_event_before_the_answer_is_raised(
    pool: BailianEmulator, call_style: CallStyle
) -> None:
    with pytest.raises(errors.BailianNotFoundError, match="agent not found") as caught:
        await call_style(connect(pool, agent_id="aid-none"), QUESTION)  # type: ignore[arg-type]

    assert caught.value.code == "AgentApp.NotFound"
    assert "`agent_id`" in str(caught.value)
    assert caught.value.partial is None


@all_call_styles
async def test_an_error_in_the_middle_has_the_partial_answer(
    pool: BailianEmulator, call_style: CallStyle
) -> None:
    reply = ErrorReply.of("InternalError", in_stream_after=8)
    pool.knowledge_services[1].error = reply

    with pytest.raises(errors.BailianServerError) as caught:
        await call_style(connect(pool), QUESTION)  # type: ignore[arg-type]

    assert caught.value.partial is not None
    assert caught.value.partial.additional_kwargs["reasoning_content"]
    assert "finish_reason" not in caught.value.partial.response_metadata


@all_call_styles
async def test_a_wrong_key_is_an_error(pool: BailianEmulator, call_style: CallStyle) -> None:
    with pytest.raises(errors.BailianAuthenticationError):
        await call_style(connect(pool, api_key="wrong"), QUESTION)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("switches", "problem"),
    [({"accepts_tool_role": False}, None), ({"no_stream_status": 500}, None)],
)
def test_switches_that_do_not_affect_this_client(
    pool: BailianEmulator, switches: dict[str, Any], problem: None
) -> None:
    for name, value in switches.items():
        setattr(pool.knowledge_switches, name, value)

    assert connect(pool).invoke(QUESTION).text


def test_filters_are_extra_options_that_the_service_may_refuse(pool: BailianEmulator) -> None:
    options = {"kb_search_configs": [{"id": "pool", "search_filters": [{"tags": ["馆"]}]}]}
    with pytest.raises(errors.BailianRequestError, match="kb_search_configs"):
        connect(pool, extra_agent_options=options).invoke(QUESTION)

    pool.knowledge_switches.accepts_chat_filters = True
    assert "周一闭馆" in connect(pool, extra_agent_options=options).invoke(QUESTION).text


def test_files_need_a_service_that_parses_them(pool: BailianEmulator) -> None:
    pool.add_knowledge_service(
        KnowledgeService("无", scene="chat", agent_id="aid-no", pre_parses_files=False)
    )

    with pytest.raises(errors.BailianRequestError, match="pre-parsing is off"):
        connect(pool, agent_id="aid-no").invoke(QUESTION, session_files=["file_1"])


def test_the_first_token_may_be_reasoning(pool: BailianEmulator) -> None:
    assert connect(pool, first_token_timeout=5).invoke(QUESTION).text


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"rag_options": {}}, "cannot use `rag_options` with a chat service"),
        ({"history": "session"}, "cannot use `history` with a chat service"),
        ({"app_id": "x"}, "cannot use `app_id` with a chat service"),
        ({"streaming": False}, "cannot use `streaming=False` with a chat service"),
        ({"agent_idd": "x"}, "did you mean `agent_id`"),
        ({"agent_id": "a b"}, "invalid `agent_id`"),
    ],
)
def test_unsupported_settings_are_rejected_by_name(
    pool: BailianEmulator, fields: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        connect(pool, **fields)


def test_tools_and_structured_output_are_not_supported(pool: BailianEmulator) -> None:
    model = connect(pool)
    for call in (
        lambda: model.bind_tools([]),
        lambda: model.with_structured_output({"title": "A"}),
        lambda: model.invoke(QUESTION, tools=[{"type": "function"}]),
        lambda: model.get_num_tokens_from_messages([], tools=[1]),
    ):
        with pytest.raises(NotImplementedError, match="BailianRetriever"):
            call()
    assert model.get_num_tokens(QUESTION) > 0
    assert model.get_num_tokens_from_messages([HumanMessage(QUESTION)]) > 0


def test_dumps_and_pickles_contain_no_key(pool: BailianEmulator) -> None:
    model = connect(pool)

    assert pool.api_key not in str(dumpd(model))
    assert pickle.loads(pickle.dumps(model)).agent_id == "aid-chat"  # noqa: S301
    assert pool.api_key not in repr(model)


class TestUnit(ChatModelUnitTests):
    """LangChain's tests for all chat models, without requests."""

    @property
    def chat_model_class(self) -> type[BailianKnowledgeChatModel]:
        return BailianKnowledgeChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"agent_id": "aid-chat", "api_key": "key"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"DASHSCOPE_API_KEY": "key"}, {"agent_id": "aid-chat"}, {"api_key": "key"}

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        # A chat service has no sampling parameters, and rejects them by name.
        return {"timeout": 60, "stop": [], "max_retries": 2}

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False

    @property
    def supports_image_urls(self) -> bool:
        return True

    @pytest.mark.xfail(reason="a chat service has no `max_tokens`, and rejects it by name")
    def test_standard_params(self, model: Any) -> None:
        super().test_standard_params(model)

    @pytest.mark.xfail(reason="load() of langchain-core excludes third-party classes")
    def test_serdes(self, model: Any, snapshot: Any) -> None:
        super().test_serdes(model, snapshot)


class TestIntegration(ChatModelIntegrationTests):
    """LangChain's tests for all chat models, with requests over loopback."""

    @pytest.fixture(autouse=True)
    def _connect(self, pool: BailianEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DASHSCOPE_BASE_URL", pool.base_url)
        monkeypatch.setenv("DASHSCOPE_API_KEY", pool.api_key)

    @property
    def chat_model_class(self) -> type[BailianKnowledgeChatModel]:
        return BailianKnowledgeChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"agent_id": "aid-chat"}

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {"timeout": 60, "stop": [], "max_retries": 2}

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_tool_choice(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False

    @property
    def supports_model_override(self) -> bool:
        return False
