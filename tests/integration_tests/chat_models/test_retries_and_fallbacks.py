"""Tests of LangChain's retries and fallbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import RetryPolicy

from langchain_bailian_app.emulator import App, ErrorReply, Faults
from langchain_bailian_app.errors import (
    BailianError,
    BailianPermissionError,
    BailianRateLimitError,
    BailianServerError,
    BailianStreamError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]


@pytest.mark.parametrize(
    ("app", "error", "posts"),
    [
        (App("busy", error=ErrorReply.of("Throttling", times=2)), None, 3),
        (App("busy", error=ErrorReply.of("Throttling")), BailianRateLimitError, 3),
        (App("broken", error=ErrorReply.of("AppProcessFailed")), BailianServerError, 1),
        (App("cut", faults=Faults.always("cut-mid-frame")), BailianStreamError, 1),
        (App("shut", error=ErrorReply.of("App.AccessDenied")), BailianPermissionError, 1),
    ],
    ids=["throttled twice", "throttled", "failed", "cut", "denied"],
)
def test_the_middleware_of_langchain_retries_only_calls_that_did_not_run(
    bailian: BailianEmulator,
    make_model: MakeModel,
    app: App,
    error: type[BailianError] | None,
    posts: int,
) -> None:
    retries = ModelRetryMiddleware(max_retries=2, on_failure="error", initial_delay=0.01, jitter=False)
    model = make_model(bailian.add_app(app), max_retries=0)
    agent = create_agent(model, tools=[], middleware=[retries])
    question = {"messages": [{"role": "user", "content": "?"}]}
    before = len(bailian.requests)
    if error is None:
        assert agent.invoke(question)["messages"][-1].text
    else:
        with pytest.raises(error):
            agent.invoke(question)

    assert len(bailian.requests) - before == posts


@pytest.mark.parametrize("options", [{}, {"retry_on": (BailianError,)}], ids=["default", "all"])
def test_the_middleware_repeats_calls_that_may_have_run_only_on_request(
    bailian: BailianEmulator, make_model: MakeModel, options: dict[str, Any]
) -> None:
    retries = ModelRetryMiddleware(
        max_retries=2, on_failure="error", initial_delay=0.01, jitter=False, **options
    )
    model = make_model(bailian.add_app(App("broken", error=ErrorReply.of("AppProcessFailed"))))
    before = len(bailian.requests)
    with pytest.raises(BailianServerError):
        create_agent(model, tools=[], middleware=[retries]).invoke({"messages": [("user", "?")]})

    assert len(bailian.requests) - before == (3 if options else 1)


@pytest.mark.parametrize(("code", "posts"), [("Throttling", 3), ("AppProcessFailed", 1)])
def test_a_node_of_langgraph_retries_only_calls_that_did_not_run(
    bailian: BailianEmulator, make_model: MakeModel, code: str, posts: int
) -> None:
    model = make_model(bailian.add_app(App("failing", error=ErrorReply.of(code))), max_retries=0)
    policy = RetryPolicy(
        retry_on=lambda error: getattr(error, "is_retryable", False),
        max_attempts=3,
        initial_interval=0.01,
        jitter=False,
    )
    graph = StateGraph(MessagesState)
    graph.add_node(
        "ask", lambda state: {"messages": model.invoke(state["messages"])}, retry_policy=policy
    )
    graph.add_edge(START, "ask")
    before = len(bailian.requests)
    with pytest.raises(BailianError):
        graph.compile().invoke({"messages": [("user", "?")]})

    assert len(bailian.requests) - before == posts


def test_retries_of_other_errors_can_be_requested(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    app = App("cut now and then", faults=Faults({"cut-mid-frame": 0.5}, seed=3))
    model = make_model(bailian.add_app(app)).with_retry(
        retry_if_exception_type=(BailianStreamError,),
        stop_after_attempt=20,
        wait_exponential_jitter=False,
    )

    assert all(model.invoke("?").text for _ in range(10))


def test_fallbacks_answer_instead(bailian: BailianEmulator, make_model: MakeModel) -> None:
    broken = make_model(bailian.add_app(App("broken", error=ErrorReply.of("AppProcessFailed"))))
    other = make_model(bailian.add_app(App("other", answer=lambda _: "我来回答")))

    assert broken.with_fallbacks([other]).invoke("?").text == "我来回答"
