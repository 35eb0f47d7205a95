"""Tests of isolation between threads, tasks, event loops, forks, copies and pickles of models."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain_core.rate_limiters import BaseRateLimiter, InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField

from langchain_bailian_app import BailianAppChatModel, BizParams
from langchain_bailian_app._transport import client_pool
from langchain_bailian_app.emulator import App, BailianEmulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_bailian_app.emulator import Turn

    MakeModel = Callable[..., BailianAppChatModel]


def echo(turn: Turn) -> str:
    return f"你说：{turn.prompt}。" * 3


@pytest.fixture
def services() -> Iterator[list[BailianEmulator]]:
    """Run two services, each with its own API key and with applications in workspaces."""
    with BailianEmulator(api_key="key-1") as one, BailianEmulator(api_key="key-2") as two:
        for service in (one, two):
            for workspace in ("ws1", "ws2", None):
                service.add_app(
                    App("echo", workspace=workspace, app_id=f"app-{workspace}", answer=echo)
                )
        yield [one, two]


def make_models(services: list[BailianEmulator]) -> list[BailianAppChatModel]:
    return [
        BailianAppChatModel(
            app_id=f"app-{workspace}",
            base_url=service.base_url,
            api_key=service.api_key,
            workspace=workspace,
        )
        for service in services
        for workspace in ("ws1", "ws2", None)
    ]


def check_answers(services: list[BailianEmulator], answers: list[str]) -> None:
    """Check that each question got its own answer, from the right service and workspace."""
    assert answers == [f"你说：{number}。" * 3 for number in range(len(answers))]
    for service in services:
        for request in service.requests:
            workspace = request.headers.get("x-dashscope-workspace")
            assert request.app_id == f"app-{workspace}"
            assert request.status == 200  # the API key was that of the service


@pytest.mark.slow
def test_fifty_threads_get_their_own_answers(services: list[BailianEmulator]) -> None:
    models = make_models(services)
    with ThreadPoolExecutor(50) as pool:
        answers = pool.map(lambda n: models[n % len(models)].invoke(str(n)).text, range(300))
        check_answers(services, list(answers))


def test_a_first_call_adds_no_instance_attribute(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    model = make_model()
    fields = set(vars(model))
    model.invoke("?")

    assert set(vars(model)) == fields


@pytest.mark.slow
async def test_two_hundred_tasks_get_their_own_answers(services: list[BailianEmulator]) -> None:
    models = make_models(services)
    calls = [models[number % len(models)].ainvoke(str(number)) for number in range(200)]
    answers = await asyncio.gather(*calls)

    check_answers(services, [answer.text for answer in answers])


def test_one_model_works_on_several_loops_at_once(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    model = make_model(bailian.add_app(App("echo", answer=echo)))

    def ask_on_new_loop(number: int) -> str:
        return asyncio.run(model.ainvoke(str(number))).text

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask_on_new_loop, range(24))) == [
            f"你说：{number}。" * 3 for number in range(24)
        ]
    assert all(not loop.is_closed() for loop in client_pool._async_transports)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # since Python 3.12
def test_a_forked_child_opens_connections_of_its_own(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    model = make_model()
    model.invoke("?")
    parent_client = client_pool.get_dashscope_transport(loopback=True, max_connections=1000).http_client
    read_fd, write_fd = os.pipe()
    child = os.fork()
    if child == 0:
        has_new_client = (
            client_pool.get_dashscope_transport(loopback=True, max_connections=1000).http_client
            is not parent_client
        )
        has_answer = bool(model.invoke("?").text)
        os.write(write_fd, b"yes" if has_new_client and has_answer else b"no")
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write_fd)
    with os.fdopen(read_fd) as pipe:
        assert pipe.read() == "yes"
    assert model.invoke("?").text


def test_no_cookie_is_kept(bailian: BailianEmulator, make_model: MakeModel) -> None:
    body = b'{"output":{"text":"a","finish_reason":"stop"},"usage":{},"request_id":"r"}'
    app_id = bailian.replay(body, headers={"set-cookie": "tenant=one; Path=/"})
    model = make_model(app_id)
    model.invoke("?")
    model.invoke("?")

    assert "cookie" not in bailian.requests[-1].headers

    async def ask_twice() -> None:
        await model.ainvoke("?")
        await model.ainvoke("?")

    asyncio.run(ask_twice())

    assert "cookie" not in bailian.requests[-1].headers


@pytest.mark.parametrize(
    "make_copy",
    [
        copy.deepcopy,
        copy.copy,
        lambda model: model.model_copy(update={"memory_id": "m"}),
        lambda model: model.bind(memory_id="m"),
        lambda model: model.with_config(tags=["t"]),
        lambda model: model.configurable_fields(memory_id=ConfigurableField(id="m")),
        lambda model: model.configurable_alternatives(ConfigurableField(id="which"), other=model),
    ],
    ids=["deepcopy", "copy", "model_copy", "bind", "with_config", "fields", "alternatives"],
)
def test_copies_work_and_share_connections(
    make_model: MakeModel, make_copy: Callable[[Any], Any]
) -> None:
    model = make_model(
        biz_params=BizParams(user_defined_tokens={"tool": "token"}),
        rate_limiter=InMemoryRateLimiter(requests_per_second=1000, check_every_n_seconds=0.001),
    )
    model.invoke("?")
    transport_count = len(client_pool._sync_transports)

    assert make_copy(model).invoke("?").text
    assert len(client_pool._sync_transports) == transport_count


def test_a_deep_copy_keeps_an_injected_client(make_model: MakeModel) -> None:
    with httpx.Client(trust_env=False) as client:
        copied = copy.deepcopy(make_model(http_client=client))

        assert copied.http_client is client
        assert copied.invoke("?").text


def test_a_copy_for_another_workspace_uses_that_workspace(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    model = make_model(workspace="ws1")
    model.invoke("?")
    model.model_copy(update={"workspace": "ws2"}).invoke("?")

    assert bailian.requests[-1].headers["x-dashscope-workspace"] == "ws2"


def test_a_pickle_carries_no_secret_and_takes_the_key_of_its_new_process(
    bailian: BailianEmulator, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(memory_id="m")
    model.invoke("?")
    pickled = pickle.dumps(model)

    assert bailian.api_key.encode() not in pickled

    loaded = pickle.loads(pickled)  # noqa: S301
    with pytest.raises(ValueError, match="a pickled model does not contain its key"):
        loaded.invoke("?")
    monkeypatch.setenv("DASHSCOPE_API_KEY", bailian.api_key)

    assert loaded.invoke("?").text
    assert bailian.requests[-1].body["input"]["memory_id"] == "m"


def test_a_model_with_user_tokens_cannot_be_pickled(make_model: MakeModel) -> None:
    model = make_model(biz_params=BizParams(user_defined_tokens={"tool": "token"}))
    with pytest.raises(TypeError, match="user_defined_tokens"):
        pickle.dumps(model)


class CountingRateLimiter(BaseRateLimiter):
    """Rate limiter that counts calls."""

    def __init__(self) -> None:
        self.count = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.count += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        self.count += 1
        return True


async def test_a_rate_limiter_is_asked_once_a_call(make_model: MakeModel) -> None:
    limiter = CountingRateLimiter()
    model = make_model(rate_limiter=limiter)
    model.invoke("?")
    list(model.stream("?"))
    await model.ainvoke("?")
    [_ async for _ in model.astream("?")]

    assert limiter.count == 4
