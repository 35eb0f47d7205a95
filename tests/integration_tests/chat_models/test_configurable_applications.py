"""Tests of several applications behind one runnable: configurable ones and fallbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import ConfigurableField

from langchain_bailian_app import BailianSessionWarning, InMemorySessionStore
from langchain_bailian_app.emulator import App, ErrorReply
from langchain_bailian_app.errors import BailianError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]


@pytest.fixture
def apps(bailian: BailianEmulator) -> Iterator[tuple[App, App]]:
    """Add two applications that answer with their name and the number of the round."""
    first, second = (
        App(name, answer=lambda turn, name=name: f"{name}：第{len(turn.history) + 1}轮")
        for name in ("甲", "乙")
    )
    for app in (first, second):
        bailian.add_app(app)
    yield first, second
    for app in (first, second):
        del bailian.apps[app.app_id]


async def test_the_application_may_be_configured(make_model: MakeModel, apps: tuple[App, App]) -> None:
    first, second = apps
    model = make_model(first.app_id).configurable_fields(
        app_id=ConfigurableField(id="app"), biz_params=ConfigurableField(id="params")
    )
    second_config: Any = {
        "configurable": {"app": second.app_id, "params": {"user_prompt_params": {"a": "b"}}}
    }

    assert model.invoke("?").text == "甲：第1轮"
    assert model.invoke("?", second_config).text == "乙：第1轮"
    assert (await model.ainvoke("?", second_config)).text == "乙：第1轮"
    assert "".join(chunk.text for chunk in model.stream("?", second_config)) == "乙：第1轮"


def test_alternatives_may_be_configured(make_model: MakeModel, apps: tuple[App, App]) -> None:
    first, second = apps
    model = make_model(first.app_id).configurable_alternatives(
        ConfigurableField(id="who"), default_key="first", second=make_model(second.app_id)
    )

    assert model.invoke("?").text == "甲：第1轮"
    assert model.invoke("?", {"configurable": {"who": "second"}}).text == "乙：第1轮"


def test_an_application_is_configured_for_a_call_only(
    make_model: MakeModel, bailian: BailianEmulator, apps: tuple[App, App]
) -> None:
    model = make_model(apps[0].app_id).configurable_fields(memory_id=ConfigurableField(id="memory"))

    model.invoke("?", {"configurable": {"memory": "m"}})
    model.invoke("?")

    assert ["memory_id" in r.body["input"] for r in bailian.requests[-2:]] == [True, False]


def test_a_fallback_gets_all_messages_and_no_session(
    make_model: MakeModel, bailian: BailianEmulator, apps: tuple[App, App]
) -> None:
    first, second = apps
    model = make_model(first.app_id, history="session")
    model_with_fallback = model.with_fallbacks([make_model(second.app_id, history="session")])
    messages = [HumanMessage("一")]
    messages += [model_with_fallback.invoke(messages), HumanMessage("二")]
    first.error = ErrorReply.of("AppProcessFailed")

    answer = model_with_fallback.invoke(messages)

    assert answer.text == "乙：第2轮"
    sent = bailian.requests[-1]
    assert sent.app_id == second.app_id
    assert "session_id" not in sent.body["input"]
    assert len(sent.body["input"]["messages"]) == 3


def test_after_a_fallback_all_messages_are_sent(
    make_model: MakeModel, bailian: BailianEmulator, apps: tuple[App, App]
) -> None:
    first, second = apps
    messages = [HumanMessage("一")]
    messages += [make_model(second.app_id, history="session").invoke(messages), HumanMessage("二")]

    answer = make_model(first.app_id, history="session").invoke(messages)

    assert answer.text == "甲：第2轮"
    assert "session_id" not in bailian.requests[-1].body["input"]


def test_a_thread_belongs_to_one_application(make_model: MakeModel, apps: tuple[App, App]) -> None:
    first, second = apps
    store = InMemorySessionStore()
    model_with_fallback = make_model(
        first.app_id, history="thread", session_store=store
    ).with_fallbacks([make_model(second.app_id, history="thread", session_store=store)])
    thread: Any = {"configurable": {"thread_id": "t"}}

    assert model_with_fallback.invoke("一", thread).text == "甲：第1轮"
    first.error = ErrorReply.of("AppProcessFailed", times=1)
    assert model_with_fallback.invoke("二", thread).text == "乙：第1轮"
    # The thread continues in the session of the first application, although the effect of the failed
    # call on that session is unknown.
    assert model_with_fallback.invoke("三", thread).text.startswith("甲：")


def test_an_explicit_session_is_bound_to_its_model(
    make_model: MakeModel, bailian: BailianEmulator, apps: tuple[App, App]
) -> None:
    first, second = apps
    first_answer = make_model(first.app_id).invoke("一")
    bound = make_model(first.app_id).bind(session_id=first_answer.response_metadata["session_id"])
    model_with_fallback = bound.with_fallbacks(
        [make_model(second.app_id)], exceptions_to_handle=(BailianError,)
    )

    assert model_with_fallback.invoke("二").text == "甲：第2轮"
    first.error = ErrorReply.of("AppProcessFailed")
    assert model_with_fallback.invoke("三").text == "乙：第1轮"
    assert set(bailian.requests[-1].body["input"]) == {"prompt"}


def test_an_answer_of_another_application_continues_no_session(
    make_model: MakeModel, apps: tuple[App, App]
) -> None:
    first, second = apps
    model = make_model(first.app_id, history="session")
    answer = model.invoke("一")
    forged = AIMessage(
        answer.content, response_metadata=answer.response_metadata | {"app_id": second.app_id}
    )

    result = make_model(second.app_id, history="session").invoke(
        [HumanMessage("一"), forged, HumanMessage("二")]
    )

    assert result.text == "乙：第2轮"
    assert issubclass(BailianSessionWarning, UserWarning)
