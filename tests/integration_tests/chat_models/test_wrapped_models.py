"""Tests of bindings, fallbacks and configurable models: none of their settings is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.load import dumpd, load
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import (
    ConfigurableField,
    RunnableBinding,
    RunnableConfig,
    RunnableWithFallbacks,
)
from langchain_core.runnables.configurable import (
    RunnableConfigurableAlternatives,
    RunnableConfigurableFields,
)
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from langchain_bailian_app import BailianAppChatModel, BizParams, RagOptions
from langchain_bailian_app.emulator import App, ErrorReply
from langchain_bailian_app.errors import BailianError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_bailian_app.emulator import BailianEmulator, Turn

    MakeModel = Callable[..., BailianAppChatModel]

SETTINGS: dict[str, Any] = {
    "memory_id": "m",
    "rag_options": {"pipeline_ids": ["kb"]},
    "biz_params": {"city": "杭州"},
}
OTHER_SETTINGS: dict[str, Any] = {"temperature": 0.5, "extra_input": {"x": 1}}
QUESTION = "一加二是多少？"


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Sum(BaseModel):
    """A sum."""

    total: int


def answer(turn: Turn) -> str:
    """Answer with an object, a call, or text, depending on what is asked for."""
    if "JSON Schema" in turn.prompt:
        return '{"total": 3}'
    if "<tools>" in turn.system and "<tool_response>" not in turn.prompt:
        return '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'
    return "三。"


@pytest.fixture
def app_ids(bailian: BailianEmulator) -> Iterator[tuple[str, str]]:
    """Add two applications."""
    first, second = (bailian.add_app(App(name, answer=answer)) for name in ("first", "second"))
    bailian.reset()
    yield first, second
    for app_id in (first, second):
        del bailian.apps[app_id]


@pytest.fixture
def model(make_model: MakeModel, app_ids: tuple[str, str]) -> BailianAppChatModel:
    return make_model(app_ids[0], tool_calling="prompt")


def assert_settings_are_sent(bailian: BailianEmulator, *, times: int = 1, others: bool = False) -> None:
    """Check all requests since the last check."""
    assert len(bailian.requests) == times
    for request in bailian.requests:
        sent = request.body["input"] | request.body["parameters"]
        expected = SETTINGS | ({"temperature": 0.5, "x": 1} if others else {})
        assert {name: sent.get(name) for name in expected} == expected
    bailian.reset()


async def call(call_style: str, runnable: Any, config: RunnableConfig | None = None) -> Any:
    """Call the runnable in a call style and return its result."""
    match call_style:
        case "invoke":
            return runnable.invoke(QUESTION, config)
        case "ainvoke":
            return await runnable.ainvoke(QUESTION, config)
        case "batch":
            return runnable.batch([QUESTION], config)[0]
        case "abatch":
            return (await runnable.abatch([QUESTION], config))[0]
        case "stream":
            items = list(runnable.stream(QUESTION, config))
        case _:
            items = [item async for item in runnable.astream(QUESTION, config)]
    return sum(items[1:], items[0]) if isinstance(items[0], AIMessage) else items[-1]


all_call_styles = pytest.mark.parametrize(
    "call_style", ["invoke", "ainvoke", "batch", "abatch", "stream", "astream"]
)
all_methods = pytest.mark.parametrize("method", ["bind_tools", "with_structured_output"])


def apply(runnable: Any, method: str) -> Any:
    """Bind a tool or a schema."""
    return getattr(runnable, method)([add] if method == "bind_tools" else Sum)


def assert_result(result: Any, method: str) -> None:
    if method == "bind_tools":
        assert [(c["name"], c["args"]) for c in result.tool_calls] == [("add", {"a": 1, "b": 2})]
    else:
        assert result == Sum(total=3)


# -- bound settings ----------------------------------------------------------------------------------

WRAPPED: dict[str, Callable[[BailianAppChatModel], Any]] = {
    "bind": lambda model: model.bind(**SETTINGS),
    "bind and bind": lambda model: model.bind(memory_id="old", **OTHER_SETTINGS).bind(**SETTINGS),
    "bind and with_config": lambda model: model.bind(**SETTINGS).with_config(tags=["t"]),
    "with_config and bind": lambda model: model.with_config(tags=["t"]).bind(**SETTINGS),
    "bind and with_types": lambda model: model.bind(**SETTINGS).with_types(input_type=str),
    "with_types and bind": lambda model: model.with_types(input_type=str).bind(**SETTINGS),
    "bind and with_listeners": lambda model: model.bind(**SETTINGS).with_listeners(on_start=print),
    "with_listeners and bind": lambda model: model.with_listeners(on_start=print).bind(**SETTINGS),
    "with_fallbacks": lambda model: model.bind(**SETTINGS).with_fallbacks([model]),
    "with_fallbacks and bind": lambda model: model.with_fallbacks([model]).bind(**SETTINGS),
    "bind and configurable_alternatives": lambda model: model.bind(
        **SETTINGS
    ).configurable_alternatives(ConfigurableField(id="which"), other=model),
    "configurable_fields and bind": lambda model: model.configurable_fields(
        app_id=ConfigurableField(id="app")
    ).bind(**SETTINGS),
    "configurable_alternatives and bind": lambda model: model.configurable_alternatives(
        ConfigurableField(id="which"), other=model
    ).bind(**SETTINGS),
    "both and bind": lambda model: (
        model.configurable_fields(app_id=ConfigurableField(id="app"))
        .configurable_alternatives(ConfigurableField(id="which"), other=model)
        .bind(**SETTINGS)
        .with_config(tags=["t"])
    ),
}


@all_call_styles
@all_methods
@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
async def test_bound_settings_are_sent_with_tools_and_schemas(
    bailian: BailianEmulator,
    model: BailianAppChatModel,
    wrap: Callable[[BailianAppChatModel], Any],
    method: str,
    call_style: str,
) -> None:
    assert_result(await call(call_style, apply(wrap(model), method)), method)

    assert_settings_are_sent(bailian)


def test_later_settings_replace_earlier_ones_and_keep_the_others(
    bailian: BailianEmulator, model: BailianAppChatModel
) -> None:
    bound = model.bind(memory_id="old", **OTHER_SETTINGS).bind(**SETTINGS)
    bound.bind_tools([add]).invoke(QUESTION)

    assert_settings_are_sent(bailian, others=True)
    bound.bind_tools([add], memory_id="new").bind(temperature=0.1).invoke(QUESTION, seed=1)
    sent = bailian.requests[-1].body
    assert (sent["input"]["memory_id"], sent["parameters"]["temperature"]) == ("new", 0.1)
    assert sent["parameters"]["seed"] == 1
    assert "tools" not in bound.kwargs


def test_tools_replace_earlier_tools(bailian: BailianEmulator, model: BailianAppChatModel) -> None:
    other = {"name": "other", "description": "Other.", "parameters": {"type": "object"}}
    bound = model.bind_tools([other], tool_choice="any").bind(**SETTINGS).bind_tools([add])
    bound.invoke(QUESTION)

    system = bailian.requests[-1].body["input"]["messages"][0]["content"]
    assert '"add"' in system
    assert '"other"' not in system
    assert "这一次必须调用函数。" in system
    assert_settings_are_sent(bailian)


async def test_settings_of_an_agents_model_are_sent(
    bailian: BailianEmulator, model: BailianAppChatModel
) -> None:
    question = {"messages": [HumanMessage(QUESTION)]}
    agent = create_agent(model.bind(**SETTINGS), tools=[add])
    for state in (agent.invoke(question), await agent.ainvoke(question)):
        assert [m.type for m in state["messages"]] == ["human", "ai", "tool", "ai"]
        assert state["messages"][-1].text == "三。"

    assert_settings_are_sent(bailian, times=4)


def test_the_model_in_a_binding_has_the_settings_too(
    bailian: BailianEmulator, model: BailianAppChatModel
) -> None:
    bound = model.bind(**SETTINGS)
    bound.bound.with_structured_output(Sum).invoke(QUESTION)  # as `create_react_agent` does
    bound.generate([[HumanMessage(QUESTION)]])

    assert_settings_are_sent(bailian, times=2)
    assert model.memory_id is None


def test_tool_calling_may_be_bound(model: BailianAppChatModel) -> None:
    bound = model.model_copy(update={"tool_calling": None}).bind(tool_calling="prompt")

    assert_result(bound.bind_tools([add]).invoke(QUESTION), "bind_tools")


def test_an_invalid_option_is_rejected_when_it_is_bound(model: BailianAppChatModel) -> None:
    with pytest.raises(ValueError, match="seed"):
        model.bind(seed="x")


@pytest.mark.parametrize(
    "settings", [{"session_id": "s"}, {"history": "session"}, {"stop": ["x"]}, {"tools": [add]}]
)
def test_bound_settings_that_structured_output_cannot_use_are_rejected(
    bailian: BailianEmulator, model: BailianAppChatModel, settings: dict[str, Any]
) -> None:
    for bound in (model.bind(**settings), model.bind(memory_id="m").bind(**settings)):
        with pytest.raises(TypeError, match=f"cannot use `{next(iter(settings))}`"):
            bound.with_structured_output(Sum)
    configurable = model.configurable_fields(app_id=ConfigurableField(id="app")).bind(**settings)
    with pytest.raises(TypeError, match=f"cannot use `{next(iter(settings))}`"):
        configurable.with_structured_output(Sum).invoke(QUESTION)
    assert not bailian.requests


def test_retries_have_no_tools_or_schemas(model: BailianAppChatModel) -> None:
    for method in ("bind_tools", "with_structured_output"):
        with pytest.raises(AttributeError, match=method):
            apply(model.bind(**SETTINGS).with_retry(), method)


# -- bound configs -----------------------------------------------------------------------------------


@all_call_styles
@all_methods
async def test_a_bound_config_is_kept(
    bailian: BailianEmulator, model: BailianAppChatModel, method: str, call_style: str
) -> None:
    model = model.model_copy(update={"memory_ids": {"user": "m"}})
    started: list[str] = []
    bound = (
        model.with_config(configurable={"user_id": "user"}, tags=["t"])
        .with_config(configurable={"other": 1})
        .with_listeners(on_start=lambda run: started.append(run.name))
    )
    assert_result(await call(call_style, apply(bound, method)), method)

    assert bailian.requests[-1].body["input"]["memory_id"] == "m"
    assert len(started) == 1


async def test_an_asynchronous_listener_is_kept(model: BailianAppChatModel) -> None:
    started: list[str] = []

    async def on_start(run: Any) -> None:
        started.append(run.name)

    bound = model.bind(**SETTINGS).with_alisteners(on_start=on_start).bind(temperature=0.5)
    await bound.bind_tools([add]).ainvoke(QUESTION)
    await bound.with_structured_output(Sum).ainvoke(QUESTION)

    assert len(started) == 2
    assert bound.kwargs["temperature"] == 0.5


# -- fallbacks ---------------------------------------------------------------------------------------


@all_call_styles
@all_methods
async def test_a_fallback_gets_the_settings_and_its_own_application(
    bailian: BailianEmulator,
    make_model: MakeModel,
    model: BailianAppChatModel,
    app_ids: tuple[str, str],
    method: str,
    call_style: str,
) -> None:
    bailian.apps[app_ids[0]].error = ErrorReply.of("AppProcessFailed")
    other = make_model(app_ids[1], tool_calling="prompt")
    for runnable in (
        model.with_fallbacks([other], exceptions_to_handle=(BailianError,)).bind(**SETTINGS),
        model.bind(**SETTINGS).with_fallbacks([other.bind(**SETTINGS)]).with_config(tags=["t"]),
    ):
        assert_result(await call(call_style, apply(runnable, method)), method)

        assert [request.app_id for request in bailian.requests] == list(app_ids)
        assert_settings_are_sent(bailian, times=2)


# -- configurable applications -----------------------------------------------------------------------


CONFIGURABLE: dict[str, Callable[[BailianAppChatModel, BailianAppChatModel], Any]] = {
    "fields": lambda model, _: model.configurable_fields(app_id=ConfigurableField(id="app")),
    "alternatives": lambda model, other: model.configurable_alternatives(
        ConfigurableField(id="which"), second=other
    ),
    "lazy alternatives": lambda model, other: model.configurable_alternatives(
        ConfigurableField(id="which"), second=lambda: other
    ),
    "bound alternatives": lambda model, other: model.bind(seed=1).configurable_alternatives(
        ConfigurableField(id="which"), second=other.bind(seed=1)
    ),
    "fields and alternatives": lambda model, other: model.configurable_fields(
        memory_id=ConfigurableField(id="memory")
    ).configurable_alternatives(ConfigurableField(id="which"), second=other),
    "fields of alternatives": lambda model, other: model.configurable_alternatives(
        ConfigurableField(id="which"), second=other
    ).configurable_fields(memory_id=ConfigurableField(id="memory")),
    "with fallbacks": lambda model, _: model.configurable_fields(
        app_id=ConfigurableField(id="app")
    ).with_fallbacks([model]),
    "with types": lambda model, _: model.configurable_fields(
        app_id=ConfigurableField(id="app")
    ).with_types(input_type=str),
}


@pytest.fixture
def second_config(app_ids: tuple[str, str]) -> RunnableConfig:
    return {"configurable": {"app": app_ids[1], "which": "second"}}


@all_call_styles
@all_methods
@pytest.mark.parametrize("configure", CONFIGURABLE.values(), ids=CONFIGURABLE)
async def test_the_configured_application_answers_with_tools_and_schemas(
    bailian: BailianEmulator,
    make_model: MakeModel,
    model: BailianAppChatModel,
    app_ids: tuple[str, str],
    second_config: RunnableConfig,
    configure: Callable[..., Any],
    method: str,
    call_style: str,
) -> None:
    configurable = configure(model, make_model(app_ids[1], tool_calling="prompt"))
    runnable = apply(configurable.bind(**SETTINGS), method)

    assert_result(await call(call_style, runnable, second_config), method)
    assert_result(await call(call_style, runnable), method)
    assert_result(await call(call_style, runnable.with_config(second_config)), method)
    assert_result(
        await call(call_style, apply(configurable.with_config(second_config), method)), method
    )
    assert [request.app_id for request in bailian.requests] == [app_ids[i] for i in (1, 0, 1, 1)]
    del bailian.requests[-1]  # without settings
    assert_settings_are_sent(bailian, times=3)


def test_a_second_bound_config_keeps_the_application(
    bailian: BailianEmulator, model: BailianAppChatModel, app_ids: tuple[str, str]
) -> None:
    configurable = model.configurable_fields(app_id=ConfigurableField(id="app"))
    configured = configurable.with_config(configurable={"app": app_ids[1]}).with_config(tags=["t"])
    configured.bind_tools([add]).invoke(QUESTION)
    configured.invoke(QUESTION)

    assert [request.app_id for request in bailian.requests] == [app_ids[1]] * 2


def test_tools_and_settings_may_be_bound_to_a_configurable_model_in_any_order(
    bailian: BailianEmulator,
    model: BailianAppChatModel,
    app_ids: tuple[str, str],
    second_config: RunnableConfig,
) -> None:
    configurable = model.configurable_fields(app_id=ConfigurableField(id="app"))
    other = {"name": "other", "description": "Other.", "parameters": {"type": "object"}}
    runnable = configurable.bind_tools([other]).bind(**SETTINGS).bind_tools([add])
    assert_result(runnable.invoke(QUESTION, second_config), "bind_tools")

    assert bailian.requests[-1].app_id == app_ids[1]
    assert '"other"' not in bailian.requests[-1].body["input"]["messages"][0]["content"]
    assert [spec.id for spec in runnable.config_specs] == ["app"]
    assert_settings_are_sent(bailian)
    with pytest.raises(TypeError, match="cannot use `tools`"):
        configurable.bind_tools([add]).with_structured_output(Sum).invoke(QUESTION)


def test_tools_of_a_model_without_tool_calling_are_rejected_in_the_call(make_model: MakeModel) -> None:
    configurable = make_model().configurable_fields(tool_calling=ConfigurableField(id="mode"))
    with pytest.raises(NotImplementedError, match='`tool_calling="prompt"`'):
        configurable.bind_tools([add]).invoke(QUESTION)


async def test_an_alternative_may_be_a_model_of_another_provider(
    bailian: BailianEmulator, model: BailianAppChatModel
) -> None:
    class OtherModel(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self.bind(own_tools=len(tools), **kwargs)

        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            assert kwargs["own_tools"] == 1
            return super()._generate(*args)

    other = OtherModel(messages=iter([AIMessage("other"), AIMessage("other")]))
    runnable = model.configurable_alternatives(ConfigurableField(id="which"), other=other).bind_tools(
        [add]
    )
    config: RunnableConfig = {"configurable": {"which": "other"}}

    assert runnable.invoke(QUESTION, config).text == "other"
    assert (await runnable.ainvoke(QUESTION, config)).text == "other"
    assert not bailian.requests


async def test_an_agent_uses_the_configured_application(
    bailian: BailianEmulator,
    model: BailianAppChatModel,
    app_ids: tuple[str, str],
    second_config: RunnableConfig,
) -> None:
    question: Any = {"messages": [HumanMessage(QUESTION)]}
    configurable = model.configurable_fields(app_id=ConfigurableField(id="app")).bind(**SETTINGS)
    agent = create_agent(configurable, tools=[add])
    graph = StateGraph(MessagesState)
    graph.add_node("agent", agent)
    graph.add_edge(START, "agent")
    runnable = graph.compile()
    states = [
        agent.invoke(question, second_config),
        await agent.ainvoke(question, second_config),
        list(runnable.stream(question, second_config, stream_mode="values"))[-1],
    ]

    assert {state["messages"][-1].text for state in states} == {"三。"}
    assert {request.app_id for request in bailian.requests} == {app_ids[1]}
    assert_settings_are_sent(bailian, times=6)


# -- dumps -------------------------------------------------------------------------------------------


def dumpable(model: BailianAppChatModel) -> list[tuple[Any, type]]:
    field = ConfigurableField(id="app")
    return [
        (model.bind(**SETTINGS), RunnableBinding),
        (model.bind(**SETTINGS).bind_tools([add]), RunnableBinding),
        (model.with_config(tags=["t"]), RunnableBinding),
        (model.with_fallbacks([model]), RunnableWithFallbacks),
        (model.configurable_fields(app_id=field), RunnableConfigurableFields),
        (model.configurable_alternatives(field, other=model), RunnableConfigurableAlternatives),
    ]


def test_dumps_name_the_classes_of_langchain(model: BailianAppChatModel) -> None:
    for wrapper, core_class in dumpable(model):
        assert dumpd(wrapper)["id"] == ["langchain", "schema", "runnable", core_class.__name__]
        assert isinstance(wrapper, core_class)


async def test_a_loaded_binding_keeps_its_settings(
    bailian: BailianEmulator, model: BailianAppChatModel
) -> None:
    loaded = load(
        dumpd(model.bind(**SETTINGS)),
        allowed_objects=[BailianAppChatModel, BizParams, RagOptions, RunnableBinding],
        valid_namespaces=["langchain_bailian_app"],
        secrets_map={"DASHSCOPE_API_KEY": bailian.api_key},
    )

    assert type(loaded) is RunnableBinding
    for method in ("bind_tools", "with_structured_output"):
        assert_result(apply(loaded, method).invoke(QUESTION), method)
    assert loaded.invoke(QUESTION).text == "三。"
    assert_settings_are_sent(bailian, times=3)


def test_user_tokens_are_in_no_dump_or_repr_of_a_wrapper(model: BailianAppChatModel) -> None:
    tokens = {"user_defined_tokens": {"tool": "planted"}}
    configurable = model.configurable_fields(app_id=ConfigurableField(id="app"))
    wrappers = [
        model.bind(biz_params=tokens),
        model.bind(biz_params=tokens).bind_tools([add]),
        model.with_fallbacks([model]).bind(biz_params=tokens),
        configurable.bind(biz_params=tokens),
        configurable.bind_tools([add], biz_params=tokens),
        configurable.with_structured_output(Sum, biz_params=tokens),
        model.with_config(tags=["t"]).bind(biz_params=tokens),
    ]

    for wrapper in wrappers:
        assert "planted" not in repr(wrapper) + json.dumps(dumpd(wrapper))
