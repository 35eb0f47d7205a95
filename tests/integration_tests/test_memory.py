"""Tests of long-term memory: `BailianMemory`, and the memory that a call uses."""

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

MEMORY_IDS = {"xiaoming": "memory-of-xiaoming", "7": "memory-of-7"}


@pytest.fixture(scope="module")
def bailian() -> Iterator[BailianEmulator]:
    with BailianEmulator(
        seed_apps=False, now=lambda: datetime(2025, 3, 16, 20, 47, 40, tzinfo=UTC)
    ) as emulator:
        emulator.add_app(App("memory", app_id="memory", long_term_memory=True))
        yield emulator


@pytest.fixture
def memory(bailian: BailianEmulator) -> BailianMemory:
    bailian.reset()
    return BailianMemory(
        workspace_id="ws",
        endpoint=bailian.openapi_endpoint,
        access_key_id=bailian.access_key_id,
        access_key_secret=bailian.access_key_secret,
    )


def make_model(bailian: BailianEmulator, **fields: Any) -> BailianAppChatModel:
    connection = {"base_url": bailian.base_url, "api_key": bailian.api_key}
    return BailianAppChatModel(app_id="memory", **connection, **fields)


def last_memory_id(bailian: BailianEmulator) -> str | None:
    return bailian.requests[-1].body["input"].get("memory_id")


def test_memories_and_facts_are_created_listed_read_changed_and_deleted(memory: BailianMemory) -> None:
    created = memory.create("小明")
    others = [memory.create(f"user-{number}") for number in range(60)]
    fact = memory.add_node(created.id, "用户喜欢吃面食。")
    for number in range(55):
        memory.add_node(others[0].id, f"事实{number}")

    assert memory.memories() == [created, *others]  # more than a page
    assert memory.get(created.id) == created
    assert memory.update(created.id, "小红") == Memory(created.id, "小红") == memory.get(created.id)
    assert memory.nodes(created.id) == [fact]
    assert len(memory.nodes(others[0].id)) == 55
    assert memory.get_node(created.id, fact.id) == fact
    changed = memory.update_node(created.id, fact.id, "用户喜欢吃米饭。")
    assert changed == MemoryNode(fact.id, "用户喜欢吃米饭。") == memory.get_node(created.id, fact.id)
    memory.delete_node(created.id, fact.id)
    assert memory.nodes(created.id) == []
    memory.delete(created.id)
    with pytest.raises(BailianNotFoundError):
        memory.get(created.id)


async def test_the_async_methods_do_the_same(memory: BailianMemory) -> None:
    created = await memory.acreate("小明")
    fact = await memory.aadd_node(created.id, "用户喜欢吃面食。")

    assert await memory.amemories() == [created]
    assert await memory.aget(created.id) == created
    assert await memory.anodes(created.id) == [await memory.aget_node(created.id, fact.id)]
    assert (await memory.aupdate(created.id, "小红")).description == "小红"
    assert (await memory.aupdate_node(created.id, fact.id, "别的")).content == "别的"
    await memory.adelete_node(created.id, fact.id)
    await memory.adelete(created.id)
    assert await memory.amemories() == []


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda memory: memory.create("has blanks"), "1 to 50 letters"),
        (lambda memory: memory.create("x" * 51), "1 to 50 letters"),
        (lambda memory: memory.add_node("m", ""), "expected 1 to 200 characters, got 0"),
        (lambda memory: memory.update_node("m", "n", "x" * 201), "1 to 200 characters, got 201"),
    ],
)
def test_invalid_values_are_errors_before_anything_is_sent(
    bailian: BailianEmulator,
    memory: BailianMemory,
    call: Callable[[BailianMemory], object],
    problem: str,
) -> None:
    with pytest.raises(ValueError, match=problem):
        call(memory)
    assert not bailian.requests


def test_a_wrong_key_is_an_error_and_a_pickle_has_no_secret(
    bailian: BailianEmulator, memory: BailianMemory
) -> None:
    assert b"emulator" not in pickle.dumps(memory).replace(b"LTAI-emulator", b"").replace(
        bailian.openapi_endpoint.encode(), b""
    )
    memory.access_key_id = "other"
    with pytest.raises(BailianAuthenticationError):
        memory.memories()
    assert pickle.loads(pickle.dumps(memory)).workspace_id == "ws"  # noqa: S301


# -- the memory of a call ----------------------------------------------------------------------------


@pytest.mark.parametrize("memory_ids", [MEMORY_IDS, MEMORY_IDS.get])
async def test_each_user_has_their_own_memory(bailian: BailianEmulator, memory_ids: Any) -> None:
    bailian.reset()
    model = make_model(bailian, memory_ids=memory_ids)
    config: Any = {"configurable": {"user_id": "xiaoming"}}
    used_ids = []
    model.invoke("我叫小明。", config)
    used_ids.append(last_memory_id(bailian))
    await model.ainvoke("?", config)
    used_ids.append(last_memory_id(bailian))
    list(model.stream("?", config))
    used_ids.append(last_memory_id(bailian))
    assert [chunk async for chunk in model.astream("?", config)]
    used_ids.append(last_memory_id(bailian))
    assert [event async for event in model.astream_events("?", config, version="v2")]
    used_ids.append(last_memory_id(bailian))
    model.batch(["?"], config)
    used_ids.append(last_memory_id(bailian))
    (RunnableLambda(lambda text: text) | model).invoke("?", config)
    used_ids.append(last_memory_id(bailian))
    assert used_ids == [MEMORY_IDS["xiaoming"]] * 7

    answer = model.invoke("我叫什么？", {"configurable": {"user_id": 7}})
    assert last_memory_id(bailian) == MEMORY_IDS["7"]
    assert "小明" not in answer.text
    assert "小明" in model.invoke("我叫什么？", config).text


async def test_a_call_without_a_known_user_is_an_error_unless_it_names_a_memory(
    bailian: BailianEmulator,
) -> None:
    bailian.reset()
    model = make_model(bailian, memory_ids=MEMORY_IDS)
    for call in (
        lambda: model.invoke("?"),
        lambda: list(model.stream("?")),
        lambda: model.generate([[HumanMessage("?")]]),
    ):
        with pytest.raises(ValueError, match="missing user id"):
            call()
    with pytest.raises(ValueError, match="no memory for user 'stranger'"):
        await model.ainvoke("?", {"configurable": {"user_id": "stranger"}})
    assert not bailian.requests

    model.invoke("?", memory_id="given")
    assert last_memory_id(bailian) == "given"
    make_model(bailian, memory_ids=MEMORY_IDS, memory_id="field").invoke("?")
    assert last_memory_id(bailian) == "field"
    # Without `memory_ids`, a user id in the config has no effect.
    make_model(bailian).invoke("?", {"configurable": {"user_id": "xiaoming"}})
    assert last_memory_id(bailian) is None


def test_a_tool_uses_the_memory_of_its_caller(bailian: BailianEmulator) -> None:
    tool = BailianAppTool(
        name="tool", description="…", model=make_model(bailian, memory_ids=MEMORY_IDS)
    )
    tool.invoke({"query": "?"}, {"configurable": {"user_id": "xiaoming"}})
    assert last_memory_id(bailian) == MEMORY_IDS["xiaoming"]


async def test_concurrent_users_each_use_their_own_memory(bailian: BailianEmulator) -> None:
    model = make_model(bailian, memory_ids=lambda user: f"memory-{user}")
    bailian.reset()
    await asyncio.gather(
        *(model.ainvoke(f"我叫用户{n}。", {"configurable": {"user_id": n}}) for n in range(20))
    )
    memory_by_prompt = {
        record.body["input"]["prompt"]: record.body["input"]["memory_id"] for record in bailian.requests
    }
    assert memory_by_prompt == {f"我叫用户{n}。": f"memory-{n}" for n in range(20)}


async def test_recalled_memories_are_typed_on_the_answer(
    bailian: BailianEmulator, memory: BailianMemory
) -> None:
    created = memory.create()
    memory.add_node(created.id, "用户喜欢吃面食。")
    model = make_model(bailian, memory_id=created.id, has_thoughts=True)
    expected = [{"text": "用户喜欢吃面食。", "stored_at": "2025-03-16T20:47:40"}]

    assert model.invoke("推荐").response_metadata["memories"] == expected
    chunks = [chunk async for chunk in model.astream("推荐")]
    merged = chunks[0]
    for chunk in chunks[1:]:
        merged += chunk
    assert merged.response_metadata["memories"] == expected
    assert "memories" not in make_model(bailian).invoke("推荐").response_metadata
