"""Test that no fact of a user reaches another one, with many users in several processes."""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_bailian_app.emulator import BailianEmulator
from langchain_bailian_app.memory import BailianMemoryLibrary

PROCESSES, USERS, TURNS = 4, 200, 20
_CONCURRENT_USERS = 10
# Processes that share no state with this one. The modules are imported only once for all of them.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Connection:
    """Connection of a process to the emulator."""

    base_url: str
    api_key: str


def format_fact(user: int, turn: int) -> str:
    return f"我的第{turn}个暗号属于{user}号用户。"


def make_turn(user: int, turn: int) -> list[HumanMessage | AIMessage]:
    return [HumanMessage(format_fact(user, turn)), AIMessage("好的。")]


def find_foreign(user: int, contents: list[str]) -> list[str]:
    """Return the facts that do not belong to a user."""
    return [content for content in contents if f"属于{user}号用户" not in content]


def run_user(library: BailianMemoryLibrary, user: int) -> list[str]:
    """Run the turns of a user: search, then add. Return the foreign facts."""
    user_id, foreign = f"user-{user}", []
    for turn in range(TURNS):
        found = library.search(user_id, f"第{turn}个暗号？", top_k=100)
        foreign += find_foreign(user, [node.content for node in found.nodes])
        event = library.submit(user_id, make_turn(user, turn))
        library.wait_until_done(event, interval=0.01)
    contents = [node.content for node in library.list(user_id, page_size=7)]
    assert sorted(contents) == sorted(format_fact(user, turn) for turn in range(TURNS))
    return foreign


async def arun_user(library: BailianMemoryLibrary, user: int) -> list[str]:
    """Async version of `run_user`."""
    user_id, foreign = f"user-{user}", []
    for turn in range(TURNS):
        found = await library.asearch(user_id, f"第{turn}个暗号？", top_k=100)
        foreign += find_foreign(user, [node.content for node in found.nodes])
        event = await library.asubmit(user_id, make_turn(user, turn))
        await library.await_until_done(event, interval=0.01)
    contents = [node.content async for node in library.alist(user_id, page_size=7)]
    assert sorted(contents) == sorted(format_fact(user, turn) for turn in range(TURNS))
    return foreign


def run_process(connection: Connection, number: int) -> list[str]:
    """Run the users of one process, half of them on an event loop; return the foreign facts."""
    library = BailianMemoryLibrary(base_url=connection.base_url, api_key=connection.api_key)
    users = range(number, USERS, PROCESSES)
    in_threads, on_loop = users[::2], users[1::2]

    async def run_on_loop() -> list[list[str]]:
        slots = asyncio.Semaphore(_CONCURRENT_USERS)

        async def run(user: int) -> list[str]:
            async with slots:
                return await arun_user(library, user)

        return await asyncio.gather(*map(run, on_loop))

    with ThreadPoolExecutor(_CONCURRENT_USERS) as pool:
        results = list(pool.map(lambda user: run_user(library, user), in_threads))
    results += asyncio.run(run_on_loop())
    return [fact for facts in results for fact in facts]


@pytest.mark.slow
def test_no_fact_of_a_user_reaches_another_one() -> None:
    with BailianEmulator(seed_apps=False) as bailian:
        connection = Connection(bailian.base_url, bailian.api_key)
        with ProcessPoolExecutor(PROCESSES, mp_context=FORKSERVER) as pool:
            processes = [pool.submit(run_process, connection, number) for number in range(PROCESSES)]
            foreign = [fact for process in processes for fact in process.result()]
        nodes = bailian.memory_library.nodes.values()

    assert foreign == []
    assert len(nodes) == USERS * TURNS
    assert not [node for node in nodes if find_foreign(int(node.user_id[5:]), [node.content])]
