"""Tests of conversations that move between processes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    messages_from_dict,
    messages_to_dict,
)

from langchain_bailian_app import (
    BailianAppChatModel,
    BailianSessionWarning,
)
from langchain_bailian_app.emulator import App, Reply, Round
from langchain_bailian_app.redis_sessions import RedisSessionStore
from langchain_bailian_app.sqlite_sessions import SqliteSessionStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from langchain_bailian_app.emulator import BailianEmulator, Turn

    MakeModel = Callable[..., BailianAppChatModel]

PROCESSES, CONVERSATIONS, TURNS = 4, 200, 10
# Processes that share no state with this one. The modules are imported only once for all of them.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload([__name__])


def expected_answer(history: list[Round], question: str) -> str:
    """Return an answer that contains a hash of all previous messages."""
    transcript = json.dumps([*history, question], ensure_ascii=False)
    return f"{len(history) + 1}：{hashlib.sha256(transcript.encode()).hexdigest()}"


def answer(turn: Turn) -> Reply:
    text = expected_answer(list(turn.history), turn.prompt)
    return Reply(text, pieces=[text[:2], text[2:40], text[40:]])


def add_hashing_app(bailian: BailianEmulator, **fields: Any) -> str:
    return bailian.add_app(App("hashing", answer=answer, **fields))


def rounds_from_messages(messages: list[BaseMessage]) -> list[Round]:
    texts = [message.text for message in messages]
    return [Round(*pair) for pair in zip(texts[::2], texts[1::2], strict=True)]


@dataclass(frozen=True)
class Settings:
    """Settings of a process."""

    base_url: str
    api_key: str
    app_id: str
    store_location: str
    """URL of a Redis server, or path of an SQLite file."""

    def open_store(self) -> RedisSessionStore | SqliteSessionStore:
        is_url = self.store_location.startswith("redis:")
        location = self.store_location
        return RedisSessionStore.from_url(location) if is_url else SqliteSessionStore(location)

    @lru_cache(maxsize=1)  # noqa: B019 -- one for each process
    def model(self) -> BailianAppChatModel:
        return BailianAppChatModel(
            app_id=self.app_id,
            base_url=self.base_url,
            api_key=self.api_key,
            history="session",
            session_store=self.open_store(),
        )


def continue_conversations(settings: Settings, transcripts: list[str], *, on_a_loop: bool) -> list[str]:
    """Continue conversations, given as JSON, concurrently in threads or on an event loop."""
    warnings.simplefilter("ignore", BailianSessionWarning)
    model = settings.model()
    inputs = [messages_from_dict(json.loads(transcript)) for transcript in transcripts]

    async def ainvoke_all() -> list[AIMessage]:
        return list(await asyncio.gather(*map(model.ainvoke, inputs)))

    if on_a_loop:
        answers = asyncio.run(ainvoke_all())
    else:
        with ThreadPoolExecutor(25) as pool:
            answers = list(pool.map(model.invoke, inputs))
    return [
        json.dumps(messages_to_dict([*messages, message]))
        for messages, message in zip(inputs, answers, strict=True)
    ]


@pytest.fixture(scope="module")
def without_coverage() -> Iterator[None]:
    """Turn off coverage in further processes, where it would take too long."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


@pytest.fixture(params=["redis", "sqlite"])
def settings(
    bailian: BailianEmulator, request: pytest.FixtureRequest, tmp_path: Path, without_coverage: None
) -> Settings:
    """Return the settings of further processes."""
    if request.param == "redis":
        request.getfixturevalue("admin")  # empties the server
        location = request.getfixturevalue("redis_url")
    else:
        location = str(tmp_path / "sessions.db")
    return Settings(bailian.base_url, bailian.api_key, add_hashing_app(bailian), location)


@pytest.fixture(scope="module")
def processes(without_coverage: None) -> Iterator[list[ProcessPoolExecutor]]:
    """Run processes, each as a separate pool, so that a test can choose one."""
    pools = [ProcessPoolExecutor(1, mp_context=FORKSERVER) for _ in range(PROCESSES)]
    yield pools
    for pool in pools:
        pool.shutdown()


async def close_store(store: RedisSessionStore | SqliteSessionStore) -> None:
    store.close()
    if isinstance(store, RedisSessionStore):
        await store.aclose()


def append_question(transcript: str, question: str) -> str:
    messages = messages_from_dict(json.loads(transcript))
    return json.dumps(messages_to_dict([*messages, HumanMessage(question)]))


def run_in_processes(
    processes: list[ProcessPoolExecutor],
    settings: Settings,
    shares: list[dict[int, str]],
    *,
    on_a_loop: bool,
) -> list[dict[int, list[BaseMessage]]]:
    """Continue in each process its share of the conversations."""
    futures = [
        pool.submit(continue_conversations, settings, list(share.values()), on_a_loop=on_a_loop)
        for pool, share in zip(processes, shares, strict=True)
    ]
    return [
        {
            number: messages_from_dict(json.loads(transcript))
            for number, transcript in zip(share, future.result(60), strict=True)
        }
        for share, future in zip(shares, futures, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.no_cover  # measuring coverage would take longer than the conversations
def test_conversations_move_between_four_processes_that_race_for_them(
    bailian: BailianEmulator, settings: Settings, processes: list[ProcessPoolExecutor]
) -> None:
    """In every third turn, two processes call at once; some conversations continue from the loser."""
    transcripts = dict.fromkeys(range(CONVERSATIONS), "[]")
    sessions: dict[int, str] = {}
    expected: dict[int, list[Round]] = {}  # of each session
    for turn in range(1, TURNS + 1):
        shares: list[dict[int, str]] = [{} for _ in range(PROCESSES)]
        raced = turn % 3 == 0
        for number, transcript in transcripts.items():
            process = (number + turn) % PROCESSES
            shares[process][number] = append_question(transcript, f"对话{number}的第{turn}问")
            if raced:
                rival = (process + 1) % PROCESSES
                shares[rival][number] = append_question(transcript, f"对话{number}的第{turn}问，另问")
        answered_shares = run_in_processes(processes, settings, shares, on_a_loop=turn % 2 == 0)
        for number in transcripts:
            results = [share[number] for share in answered_shares if number in share]
            for messages in results:
                rounds = rounds_from_messages(messages)
                assert rounds[-1].answer == expected_answer(rounds[:-1], rounds[-1].prompt)
            results.sort(key=lambda messages: messages[-1].response_metadata["history"])
            histories = [messages[-1].response_metadata["history"] for messages in results]
            if number in sessions and sessions[number] == "left":
                assert set(histories) == {"replayed"}
            else:
                # Either process may win. In sorted order, "replayed" precedes "session".
                assert histories == (["replayed", "session"] if raced else ["session"])
                metadata = results[-1][-1].response_metadata
                assert metadata["session_turn"] == turn
                assert sessions.setdefault(number, metadata["session_id"]) == metadata["session_id"]
                expected[number] = rounds_from_messages(results[-1])
                if raced and number % 10 == 0 and turn > 5:
                    assert bailian.session(sessions[number]) == expected[number]
                    sessions[number] = "left"
                    results.reverse()
            transcripts[number] = json.dumps(messages_to_dict(results[-1]))
    continued_sessions = {number: session for number, session in sessions.items() if session != "left"}

    assert (
        len(continued_sessions)
        == len(set(continued_sessions.values()))
        == CONVERSATIONS - CONVERSATIONS // 10
    )
    for number, session_id in continued_sessions.items():
        assert bailian.session(session_id) == expected[number]
        assert [f"对话{number}的第{turn}问" for turn in range(1, TURNS + 1)] == [
            round_.prompt.removesuffix("，另问") for round_ in expected[number]
        ]


async def test_another_model_with_another_store_continues_the_session(
    bailian: BailianEmulator, make_model: MakeModel, settings: Settings
) -> None:
    stores = [settings.open_store() for _ in range(2)]
    first_model, other_model = (
        make_model(settings.app_id, history="session", session_store=store) for store in stores
    )
    messages: list[BaseMessage] = [SystemMessage("只用中文。"), HumanMessage("一")]
    messages += [first_model.invoke(messages), HumanMessage("二")]
    messages += [await other_model.ainvoke(messages), HumanMessage("三")]
    messages.append(first_model.invoke(messages))
    for store in stores:
        await close_store(store)
    metadata = messages[-1].response_metadata

    assert (metadata["history"], metadata["session_turn"]) == ("session", 3)
    rounds = bailian.session(metadata["session_id"])
    assert [round_.prompt for round_ in rounds] == ["只用中文。\n\n一", "二", "三"]
    assert [round_.answer for round_ in rounds] == [message.text for message in messages[2::2]]


@pytest.mark.slow
def test_a_dumped_conversation_continues_in_a_new_process(
    bailian: BailianEmulator, settings: Settings
) -> None:
    transcript = append_question(
        continue_conversations(settings, [append_question("[]", "一")], on_a_loop=False)[0], "二"
    )
    settings.model().session_store.close()
    with ProcessPoolExecutor(1, mp_context=FORKSERVER) as new:
        [dumped] = new.submit(continue_conversations, settings, [transcript], on_a_loop=False).result(
            60
        )
    messages = messages_from_dict(json.loads(dumped))
    metadata = messages[-1].response_metadata

    assert (metadata["history"], metadata["session_turn"]) == ("session", 2)
    assert bailian.session(metadata["session_id"]) == rounds_from_messages(messages)


def stream_and_stall(settings: Settings, transcript: str, parent: Connection) -> None:
    """Stream the first chunk of an answer, then wait to be killed."""
    for chunk in settings.model().stream(messages_from_dict(json.loads(transcript))):
        parent.send(chunk.text)
    parent.send("the stream ended before the process was killed")


@pytest.mark.slow
@pytest.mark.parametrize("next_question", ["二", "三"], ids=["the same", "another"])
def test_a_killed_process_leaves_its_claim_and_the_next_call_is_replayed(
    bailian: BailianEmulator, settings: Settings, next_question: str
) -> None:
    store = settings.open_store()
    model = settings.model().model_copy(update={"session_store": store})
    first = model.invoke("一")
    transcript = json.dumps(messages_to_dict([HumanMessage("一"), first, HumanMessage("二")]))
    bailian.apps[settings.app_id].pace = 0.2
    parent_end, child_end = FORKSERVER.Pipe()
    process = FORKSERVER.Process(target=stream_and_stall, args=(settings, transcript, child_end))
    process.start()
    assert parent_end.poll(60)
    partial_text = parent_end.recv()
    process.kill()
    process.join()
    for end in (parent_end, child_end):
        end.close()
    process.close()
    bailian.apps[settings.app_id].pace = 0
    messages = [HumanMessage("一"), first, HumanMessage(next_question)]
    with pytest.warns(BailianSessionWarning, match="an earlier call was interrupted") as caught:
        second = model.invoke(messages)

    assert len(caught) == 1
    assert expected_answer([Round("一", first.text)], "二").startswith(partial_text)
    assert second.text == expected_answer([Round("一", first.text)], next_question)
    assert second.response_metadata["history"] == "replayed"
    with warnings.catch_warnings(action="error"):
        third = model.invoke([*messages, second, HumanMessage("四")])
    store.close()
    assert third.text == expected_answer(rounds_from_messages([*messages, second]), "四")
