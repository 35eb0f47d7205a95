"""Long-term memory: `BailianMemory`, and whose memory a call uses."""

from __future__ import annotations

import asyncio
import pickle
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda

from langchain_bailian_app import BailianAppChatModel, BailianAppTool
from langchain_bailian_app.emulator import App, BailianEmulator
from langchain_bailian_app.errors import BailianAuthenticationError, BailianNotFoundError
from langchain_bailian_app.memory import BailianMemory, Memory, MemoryNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IDS = {"xiaoming": "memory-of-xiaoming", "7": "memory-of-7"}


@pytest.fixture(scope="module")
def cloud() -> Iterator[BailianEmulator]:
    with BailianEmulator(
        seed_apps=False, now=lambda: datetime(2025, 3, 16, 20, 47, 40, tzinfo=UTC)
    ) as emulator:
        emulator.add_app(App("memory", app_id="memory", long_term_memory=True))
        yield emulator


@pytest.fixture
def memory(cloud: BailianEmulator) -> BailianMemory:
    cloud.reset()
    return BailianMemory(
        workspace_id="ws",
        endpoint=cloud.openapi_endpoint,
        access_key_id=cloud.access_key_id,
        access_key_secret=cloud.access_key_secret,
    )


def model_of(cloud: BailianEmulator, **fields: Any) -> BailianAppChatModel:
    connection = {"base_url": cloud.base_url, "api_key": cloud.api_key}
    return BailianAppChatModel(app_id="memory", **connection, **fields)


def used(cloud: BailianEmulator) -> str | None:
    return cloud.requests[-1].body["input"].get("memory_id")


def test_memories_and_facts_are_created_listed_read_changed_and_deleted(memory: BailianMemory) -> None:
    mine = memory.create("小明")
    others = [memory.create(f"user-{number}") for number in range(60)]
    fact = memory.add_node(mine.id, "用户喜欢吃面食。")
    for number in range(55):
        memory.add_node(others[0].id, f"事实{number}")

    assert memory.memories() == [mine, *others]  # more than a page
    assert memory.get(mine.id) == mine
    assert memory.update(mine.id, "小红") == Memory(mine.id, "小红") == memory.get(mine.id)
    assert memory.nodes(mine.id) == [fact]
    assert len(memory.nodes(others[0].id)) == 55
    assert memory.get_node(mine.id, fact.id) == fact
    changed = memory.update_node(mine.id, fact.id, "用户喜欢吃米饭。")
    assert changed == MemoryNode(fact.id, "用户喜欢吃米饭。") == memory.get_node(mine.id, fact.id)
    memory.delete_node(mine.id, fact.id)
    assert memory.nodes(mine.id) == []
    memory.delete(mine.id)
    with pytest.raises(BailianNotFoundError):
        memory.get(mine.id)


async def test_the_asynchronous_twins_do_the_same(memory: BailianMemory) -> None:
    mine = await memory.acreate("小明")
    fact = await memory.aadd_node(mine.id, "用户喜欢吃面食。")

    assert await memory.amemories() == [mine]
    assert await memory.aget(mine.id) == mine
    assert await memory.anodes(mine.id) == [await memory.aget_node(mine.id, fact.id)]
    assert (await memory.aupdate(mine.id, "小红")).description == "小红"
    assert (await memory.aupdate_node(mine.id, fact.id, "别的")).content == "别的"
    await memory.adelete_node(mine.id, fact.id)
    await memory.adelete(mine.id)
    assert await memory.amemories() == []


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda memory: memory.create("has blanks"), "1 to 50 letters"),
        (lambda memory: memory.create("x" * 51), "1 to 50 letters"),
        (lambda memory: memory.add_node("m", ""), "0 characters, not 1 to 200"),
        (lambda memory: memory.update_node("m", "n", "x" * 201), "201 characters"),
    ],
)
def test_what_the_service_would_refuse_is_an_error_before_anything_is_sent(
    cloud: BailianEmulator,
    memory: BailianMemory,
    call: Callable[[BailianMemory], object],
    problem: str,
) -> None:
    with pytest.raises(ValueError, match=problem):
        call(memory)
    assert not cloud.requests


def test_a_wrong_key_and_a_pickle(cloud: BailianEmulator, memory: BailianMemory) -> None:
    assert b"emulator" not in pickle.dumps(memory).replace(b"LTAI-emulator", b"").replace(
        cloud.openapi_endpoint.encode(), b""
    )
    memory.access_key_id = "other"
    with pytest.raises(BailianAuthenticationError):
        memory.memories()
    assert pickle.loads(pickle.dumps(memory)).workspace_id == "ws"  # noqa: S301


# -- whose memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory_ids", [IDS, IDS.get])
async def test_each_user_has_the_memory_that_is_theirs(cloud: BailianEmulator, memory_ids: Any) -> None:
    cloud.reset()
    model = model_of(cloud, memory_ids=memory_ids)
    config: Any = {"configurable": {"user_id": "xiaoming"}}
    seen = []
    model.invoke("我叫小明。", config)
    seen.append(used(cloud))
    await model.ainvoke("?", config)
    seen.append(used(cloud))
    list(model.stream("?", config))
    seen.append(used(cloud))
    assert [chunk async for chunk in model.astream("?", config)]
    seen.append(used(cloud))
    assert [event async for event in model.astream_events("?", config, version="v2")]
    seen.append(used(cloud))
    model.batch(["?"], config)
    seen.append(used(cloud))
    (RunnableLambda(lambda text: text) | model).invoke("?", config)
    seen.append(used(cloud))
    assert seen == [IDS["xiaoming"]] * 7

    answer = model.invoke("我叫什么？", {"configurable": {"user_id": 7}})
    assert used(cloud) == IDS["7"]
    assert "小明" not in answer.text
    assert "小明" in model.invoke("我叫什么？", config).text


async def test_nobody_gets_the_memory_that_all_share_by_mistake(cloud: BailianEmulator) -> None:
    cloud.reset()
    model = model_of(cloud, memory_ids=IDS)
    for call in (
        lambda: model.invoke("?"),
        lambda: list(model.stream("?")),
        lambda: model.generate([[HumanMessage("?")]]),
    ):
        with pytest.raises(ValueError, match="whose call this is"):
            call()
    with pytest.raises(ValueError, match="no memory of the user 'stranger'"):
        await model.ainvoke("?", {"configurable": {"user_id": "stranger"}})
    assert not cloud.requests

    model.invoke("?", memory_id="given")
    assert used(cloud) == "given"
    model_of(cloud, memory_ids=IDS, memory_id="field").invoke("?")
    assert used(cloud) == "field"
    # Without `memory_ids` a user id in the config says nothing.
    model_of(cloud).invoke("?", {"configurable": {"user_id": "xiaoming"}})
    assert used(cloud) is None


def test_a_tool_uses_the_memory_of_who_calls_it(cloud: BailianEmulator) -> None:
    tool = BailianAppTool(name="tool", description="…", model=model_of(cloud, memory_ids=IDS))
    tool.invoke({"query": "?"}, {"configurable": {"user_id": "xiaoming"}})
    assert used(cloud) == IDS["xiaoming"]


async def test_users_at_the_same_time_do_not_mix(cloud: BailianEmulator) -> None:
    model = model_of(cloud, memory_ids=lambda user: f"memory-{user}")
    cloud.reset()
    await asyncio.gather(
        *(model.ainvoke(f"我叫用户{n}。", {"configurable": {"user_id": n}}) for n in range(20))
    )
    told = {
        record.body["input"]["prompt"]: record.body["input"]["memory_id"] for record in cloud.requests
    }
    assert told == {f"我叫用户{n}。": f"memory-{n}" for n in range(20)}


async def test_what_was_recalled_is_typed_on_the_answer(
    cloud: BailianEmulator, memory: BailianMemory
) -> None:
    mine = memory.create()
    memory.add_node(mine.id, "用户喜欢吃面食。")
    model = model_of(cloud, memory_id=mine.id, has_thoughts=True)
    expected = [{"text": "用户喜欢吃面食。", "stored_at": "2025-03-16T20:47:40"}]

    assert model.invoke("推荐").response_metadata["memories"] == expected
    chunks = [chunk async for chunk in model.astream("推荐")]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.response_metadata["memories"] == expected
    assert "memories" not in model_of(cloud).invoke("推荐").response_metadata
