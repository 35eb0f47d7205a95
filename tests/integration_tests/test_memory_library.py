"""Tests of `BailianMemoryLibrary` with the emulator: all operations, waiting, retries and faults."""

from __future__ import annotations

import copy
import inspect
import pickle
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_bailian_app.emulator import BailianEmulator, ErrorReply
from langchain_bailian_app.errors import (
    BailianAuthenticationError,
    BailianConnectionError,
    BailianMemoryError,
    BailianNotFoundError,
    BailianPermissionError,
    BailianRateLimitError,
    BailianRequestError,
    BailianServerError,
    BailianTimeoutError,
)
from langchain_bailian_app.memory import (
    AttributeOperation,
    BailianMemoryLibrary,
    LibraryNode,
    MemoryEvent,
    ProfileAttribute,
)
from tests.raw_server import run_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.clock import Clock
    from tests.raw_server import Connection

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
UNIX_TIME = int(NOW.timestamp())
SKILL = {"skill_name": "订座", "skill_description": "订一个座位", "skill_tags": ["出行"]}
FAST = {"interval": 0.01}


class Caller:
    """Calls the methods of a library, or their async versions."""

    def __init__(self, library: BailianMemoryLibrary, style: str) -> None:
        self.library = library
        self._is_async = style == "async"

    async def __call__(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        if not self._is_async:
            result = getattr(self.library, name)(*args, **kwargs)
            return list(result) if inspect.isgenerator(result) else result
        result = getattr(self.library, f"a{name}")(*args, **kwargs)
        return [item async for item in result] if inspect.isasyncgen(result) else await result

    async def contents(self, user_id: str, **options: Any) -> list[str]:
        """Return the contents of the nodes of a user."""
        return [node.content for node in await self("list", user_id, **options)]


@pytest.fixture
def bailian(clock: Clock) -> Iterator[BailianEmulator]:
    with BailianEmulator(seed_apps=False, clock=clock, now=lambda: NOW) as emulator:
        yield emulator


@pytest.fixture
def make_library(bailian: BailianEmulator) -> Callable[..., BailianMemoryLibrary]:
    def make(**fields: Any) -> BailianMemoryLibrary:
        connection = {"base_url": bailian.base_url, "api_key": bailian.api_key}
        return BailianMemoryLibrary(**connection | fields)

    return make


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, make_library: Callable[..., BailianMemoryLibrary]) -> Caller:
    return Caller(make_library(), request.param)


async def submit_and_wait(call: Caller, *args: Any, **kwargs: Any) -> MemoryEvent:
    event = await call("submit", *args, **kwargs)
    ended: MemoryEvent = await call("wait_until_done", event, **FAST)
    return ended


# -- operations --------------------------------------------------------------------------------------


async def test_facts_are_extracted_searched_listed_changed_and_deleted(
    call: Caller, bailian: BailianEmulator
) -> None:
    messages = [HumanMessage("我叫小明。我喜欢爬山。"), AIMessage("你好，小明。")]
    event = await submit_and_wait(call, "u", messages, meta_data={"trip": 1}, timestamp=5)
    hiking, name = await call("list", "u")

    assert [change.event for change in event.changes] == ["ADD", "ADD"]
    assert hiking == LibraryNode(
        id=event.changes[1].node_id or "",
        content="用户喜欢爬山。",
        memory_type="observation",
        status="valid",
        project_id="default-library-rule",
        meta_data={"trip": 1},
        timestamp=5,
        created_at=UNIX_TIME,
        updated_at=UNIX_TIME,
    )
    result = await call("search", "u", "我喜欢什么？", top_k=1)
    assert [node.content for node in result.nodes] == ["用户喜欢爬山。"]
    assert (result.plan_version, result.nodes[0].score > 0.3) == ("pro", True)
    assert (await call("search", "u", "我喜欢什么？", plan_version="lite")).plan_version == "lite"
    assert (await call("search", "v", "我喜欢什么？")).nodes == ()
    assert (await call("get", hiking.id)).content == "用户喜欢爬山。"

    await call("update", hiking.id, "用户喜欢游泳。", meta_data={"a": 2})
    changed = await call("get", hiking.id)
    assert (changed.content, changed.meta_data) == ("用户喜欢游泳。", {"trip": 1, "a": 2})
    assert changed.timestamp == 5
    await call("delete", name.id)
    assert await call.contents("u") == ["用户喜欢游泳。"]
    assert (await call("get", name.id)).status == "delete"  # still readable
    await call("delete_user", "u")
    assert await call.contents("u") == []
    with pytest.raises(BailianNotFoundError) as caught:
        await call("delete_user", "u")
    assert caught.value.code == "EntityNotFound"
    assert bailian.requests[0].path == "/api/v2/apps/memory/add-async"


async def test_an_add_returns_its_changes_and_may_change_older_nodes(call: Caller) -> None:
    added = await call("add", "u", "我叫小明。我喜欢爬山。")
    renamed = await call("add", "u", "我叫小红。我不喜欢爬山了。")
    nothing = await call("add", "u", "你好吗？")

    assert [change.event for change in added.changes] == ["ADD", "ADD"]
    update, deletion = renamed.changes
    assert (update.event, update.old_content, update.content) == (
        "UPDATE",
        "用户叫小明。",
        "用户叫小红。",
    )
    assert update.node_id == added.changes[0].node_id
    assert (deletion.event, deletion.node_id) == ("DELETE", added.changes[1].node_id)
    assert nothing.changes == ()
    assert nothing.request_id
    assert await call.contents("u") == ["用户叫小红。"]


async def test_a_list_reads_all_pages(call: Caller, bailian: BailianEmulator) -> None:
    for number in range(7):
        await call("add", "u", custom_content=f"事实{number}")
    bailian.requests.clear()

    assert await call.contents("u", page_size=3) == [f"事实{number}" for number in reversed(range(7))]
    assert [request.query["page_num"] for request in bailian.requests] == ["1", "2", "3"]
    assert await call.contents("nobody-else") == []


async def test_only_nodes_of_the_given_rule_are_found(call: Caller, bailian: BailianEmulator) -> None:
    rule = bailian.memory_library.add_project("rule-2")
    await call("add", "u", custom_content="默认规则")
    await call("add", "u", custom_content="另一规则", project_id=rule)

    assert await call.contents("u") == ["默认规则"]
    assert await call.contents("u", project_id=rule) == ["另一规则"]
    both = await call("search", "u", "规则", project_ids=["default-library-rule", rule])
    assert {node.content for node in both.nodes} == {"默认规则", "另一规则"}
    event = await submit_and_wait(call, "u", "我喜欢茶。", project_ids=["default-library-rule", rule])
    assert [entry.resource_id for entry in event.entries] == ["default-library-rule", rule]


async def test_libraries_are_separate(
    bailian: BailianEmulator, make_library: Callable[..., BailianMemoryLibrary]
) -> None:
    other = make_library(memory_library_id=bailian.memory_library.add_library("lib-2"))
    default = make_library()
    node_id = other.add("u", custom_content="甲").changes[0].node_id or ""
    schema_id = other.create_profile_schema("旅客", [ProfileAttribute("座位")])

    assert [node.content for node in other.list("u")] == ["甲"]
    assert [*default.list("u"), *default.list_profile_schemas()] == []
    assert [schema.id for schema in other.list_profile_schemas()] == [schema_id]
    with pytest.raises(BailianNotFoundError):
        default.update(node_id, "乙")
    with pytest.raises(BailianNotFoundError):
        default.delete(node_id)
    with pytest.raises(BailianNotFoundError):
        default.get_profile_schema(schema_id)
    other.update(node_id, "乙")
    other.delete(node_id)
    assert other.get_profile_schema(schema_id).name == "旅客"
    other.delete_profile_schema(schema_id)


async def test_skills(call: Caller, bailian: BailianEmulator) -> None:
    rule = bailian.memory_library.add_project("skills", "skill")
    added = await call("add", "u", custom_content="先问日期", project_id=rule, **SKILL)
    node_id = added.changes[0].node_id
    skill = await call("export_skill", node_id)

    assert (skill.name, skill.description, skill.tags) == ("订座", "订一个座位", ("出行",))
    assert skill.content == "先问日期"
    content = (await call("get", node_id)).content
    assert content == "---\nName: 订座\nDescription: 订一个座位\nTags: 出行\n---\n\n先问日期"
    await call("update", node_id, "再问座位", **SKILL | {"skill_name": "选座"})
    assert (await call("export_skill", node_id)).name == "选座"
    found = await call("search", "u", "座位", project_id=rule, memory_types=["skill"])
    assert [node.id for node in found.nodes] == [node_id]
    assert (await call("search", "u", "座位", project_id=rule)).nodes == ()
    with pytest.raises(BailianRequestError, match="skill_name"):
        await call("update", node_id, "再问")
    with pytest.raises(BailianRequestError, match="lite"):
        await call("search", "u", "座位", project_id=rule, plan_version="lite")
    fact = (await call("add", "u", custom_content="事实")).changes[0].node_id
    with pytest.raises(BailianRequestError, match="is not a skill, but 'observation'"):
        await call("export_skill", fact)


async def test_tool_calls_become_a_skill(call: Caller, bailian: BailianEmulator) -> None:
    rule = bailian.memory_library.add_project("skills", "skill")
    tool_call = {"name": "book", "args": {}, "id": "c", "type": "tool_call"}
    messages = [
        HumanMessage("请订座位。"),
        AIMessage("", tool_calls=[tool_call]),
        ToolMessage("好", tool_call_id="c"),
    ]
    event = await submit_and_wait(call, "u", messages, project_id=rule)

    assert event.changes[0].memory_type == "skill"
    assert (await call("export_skill", event.changes[0].node_id)).tags == ("book",)


async def test_profiles(call: Caller) -> None:
    attributes = [
        ProfileAttribute("爱好", "用户的爱好"),
        ProfileAttribute("会员", default_value="否", immutable=True),
    ]
    schema_id = await call("create_profile_schema", "旅客", attributes, description="旅客画像")
    schema = await call("get_profile_schema", schema_id)
    empty = await call("get_user_profile", schema_id, "u")

    assert (schema.id, schema.name, schema.description) == (schema_id, "旅客", "旅客画像")
    assert [attribute.name for attribute in schema.attributes] == ["爱好", "会员"]
    assert [(value.name, value.value) for value in empty.attributes] == [("爱好", None), ("会员", None)]
    for text in ("我的爱好是爬山。", "我的爱好是游泳。"):
        event = await submit_and_wait(
            call, "u", text, profile_schema=schema_id, extract_mode="profile_only"
        )
        assert [entry.resource_type for entry in event.entries] == ["user_profile"]
        assert event.changes[0].name == "爱好"
    assert await call.contents("u") == []
    profile = await call("get_user_profile", schema_id, "u")
    detail = await call("get_user_profile", schema_id, "u", need_detail=True)
    assert (profile.schema_name, profile.attributes[0].value) == ("旅客", "爬山; 游泳")
    assert profile.attributes[0].items is None
    assert [item.value for item in detail.attributes[0].items] == ["爬山", "游泳"]
    assert detail.attributes[1].items == ()

    await call(
        "update_profile_schema",
        schema_id,
        name="乘客",
        operations=[
            AttributeOperation("add", name="餐食"),
            AttributeOperation("update", schema.attributes[0].id, name="兴趣", description="兴趣"),
            AttributeOperation("delete", schema.attributes[1].id),
        ],
    )
    changed = await call("get_profile_schema", schema_id)
    assert [attribute.name for attribute in changed.attributes] == ["兴趣", "餐食"]
    listed = await call("list_profile_schemas", page_size=1)
    assert [(item.id, item.name, item.attributes) for item in listed] == [(schema_id, "乘客", None)]
    await call("delete_profile_schema", schema_id)
    assert await call("list_profile_schemas") == []
    with pytest.raises(BailianNotFoundError):
        await call("get_profile_schema", schema_id)


# -- waiting -----------------------------------------------------------------------------------------


async def test_all_entries_are_awaited_and_matched_by_their_resource(
    call: Caller, bailian: BailianEmulator, clock: Clock
) -> None:
    bailian.memory_library.settings.extract_delay = 30.0
    schema_id = await call("create_profile_schema", "旅客", [ProfileAttribute("爱好")])
    event = await call("submit", "u", "我的爱好是爬山。", profile_schema=schema_id)
    assert {entry.status for entry in event.entries} == {"PENDING"}
    clock.now = 31.0  # between the ends of the two entries
    running = await call("get_event", event.id)
    assert {entry.resource_type: entry.status for entry in running.entries} == {
        "observation": "SUCCEEDED",
        "user_profile": "RUNNING",
    }
    assert [entry.resource_type for entry in running.entries] == ["user_profile", "observation"]
    with pytest.raises(BailianTimeoutError, match="observation SUCCEEDED, user_profile RUNNING"):
        await call("wait_until_done", event, timeout=0.05, **FAST)
    clock.now = 40.0
    ended = await call("wait_until_done", event, **FAST)
    assert [entry.resource_type for entry in ended.entries] == ["observation", "user_profile"]
    assert await call("wait_until_done", event.id, **FAST)
    assert sum(request.path.endswith("add-async") for request in bailian.requests) == 1


@pytest.mark.parametrize("status", ["FAILED", "UNRECORDED"])
async def test_an_entry_that_failed_is_an_error_with_what_succeeded(
    call: Caller, bailian: BailianEmulator, status: str
) -> None:
    bailian.memory_library.faults.entry_statuses["user_profile"] = status
    schema_id = await call("create_profile_schema", "旅客", [ProfileAttribute("爱好")])
    event = await call("submit", "u", "我喜欢茶。", profile_schema=schema_id)
    with pytest.raises(
        BailianMemoryError, match=f"observation SUCCEEDED, user_profile {status}"
    ) as caught:
        await call("wait_until_done", event, **FAST)

    assert [entry.has_failed for entry in caught.value.event.entries] == [False, True]
    assert len(caught.value.event.changes) == 1


@pytest.mark.slow
@pytest.mark.parametrize("style", ["sync", "async"])
async def test_a_query_that_hangs_ends_soon_after_the_timeout(style: str) -> None:
    def hang(connection: Connection) -> None:
        connection.receive_request()
        connection.wait()

    with run_server(hang) as base_url:
        call = Caller(BailianMemoryLibrary(base_url=base_url, api_key="k"), style)
        started_at = time.monotonic()
        with pytest.raises(BailianTimeoutError, match=r"within 0\.1 s \(`timeout`\): no status"):
            await call("wait_until_done", "e", timeout=0.1)
    assert time.monotonic() - started_at < 5


async def test_a_timeout_of_the_service_is_raised_until_the_time_to_wait_is_over(
    call: Caller, bailian: BailianEmulator, make_library: Callable[..., BailianMemoryLibrary]
) -> None:
    event = await call("submit", "u", "我喜欢茶。")
    bailian.memory_library.faults.errors["GetEvent"] = ErrorReply.of(
        "InternalError.Timeout", headers={"Retry-After": "0"}
    )
    with pytest.raises(BailianTimeoutError, match=r"InternalError\.Timeout"):
        await call("wait_until_done", event, timeout=60, **FAST)
    call.library = make_library(max_retries=0)
    with pytest.raises(BailianTimeoutError, match=r"no status\. The service continues"):
        await call("wait_until_done", event, timeout=1e-9, **FAST)


# -- retries -----------------------------------------------------------------------------------------


def count_requests(bailian: BailianEmulator, ending: str) -> int:
    return sum(request.path.endswith(ending) for request in bailian.requests)


@pytest.mark.parametrize("code", ["Throttling.RateQuota", "QuotaExceeded"])
async def test_a_throttled_request_is_sent_again_whatever_the_code(
    call: Caller, bailian: BailianEmulator, code: str
) -> None:
    headers = {"Retry-After": "0"}
    for operation in ("AddMemory", "SearchMemory"):
        error = ErrorReply(429, code, "slow down", headers, times=2)
        bailian.memory_library.faults.errors[operation] = error
    await call("add", "u", custom_content="事实")

    assert len((await call("search", "u", "事实")).nodes) == 1
    assert (count_requests(bailian, "/add"), count_requests(bailian, "/search")) == (3, 3)


async def test_an_exceeded_quota_is_a_rate_limit_error(call: Caller, bailian: BailianEmulator) -> None:
    call.library.max_retries = 0
    bailian.memory_library.settings.adds_per_minute = 1
    await call("add", "u", custom_content="甲")
    with pytest.raises(BailianRateLimitError, match="1 adds per minute"):
        await call("add", "u", custom_content="乙")


@pytest.mark.parametrize(
    "error",
    [
        ErrorReply(500, "InternalError", "broken", {"Retry-After": "0"}),
        ErrorReply(502, "", "bad gateway", {"Retry-After": "0"}),
        ErrorReply(504, "", "gateway timeout", {"Retry-After": "0"}),
    ],
    ids=["500", "502", "504"],
)
async def test_only_requests_that_may_run_twice_are_repeated_after_a_failure(
    call: Caller, bailian: BailianEmulator, error: ErrorReply
) -> None:
    faults = bailian.memory_library.faults
    for operation in (
        "AddMemory",
        "AddMemoryAsync",
        "CreateProfileSchema",
        "ListMemory",
        "SearchMemory",
    ):
        faults.errors[operation] = ErrorReply(
            error.status, error.code, error.message, error.headers, times=1
        )
    assert await call("list", "u") == []
    assert (await call("search", "u", "?")).nodes == ()
    for name, args in (
        ("add", ("u", "我喜欢茶。")),
        ("submit", ("u", "我喜欢茶。")),
        ("create_profile_schema", ("旅客", [ProfileAttribute("座位")])),
    ):
        with pytest.raises((BailianServerError, BailianTimeoutError)):
            await call(name, *args)
    assert count_requests(bailian, "/add") == count_requests(bailian, "/add-async") == 1
    assert count_requests(bailian, "/memory_nodes") == count_requests(bailian, "/search") == 2


async def test_an_add_whose_response_is_lost_is_not_sent_again(
    call: Caller, bailian: BailianEmulator
) -> None:
    faults = bailian.memory_library.faults
    faults.lost_replies |= {"AddMemory": 1, "AddMemoryAsync": 1, "ListMemory": 1}
    for name in ("add", "submit"):
        with pytest.raises(BailianConnectionError) as caught:
            await call(name, name, custom_content="事实")
        assert not caught.value.is_retryable
        assert await call.contents(name) == ["事实"]  # it was stored, once
    assert count_requests(bailian, "/memory_nodes") == 3  # a list is repeated


@pytest.mark.slow
async def test_a_deletion_whose_response_is_lost_is_done(
    call: Caller, bailian: BailianEmulator
) -> None:
    faults = bailian.memory_library.faults
    faults.lost_replies |= {"DeleteEntity": 1, "DeleteProfileSchema": 1, "DeleteMemory": 1}
    node_id = (await call("add", "u", custom_content="甲")).changes[0].node_id
    schema_id = await call("create_profile_schema", "旅客", [ProfileAttribute("座位")])

    await call("delete", node_id)
    await call("add", "u", custom_content="乙")
    await call("delete_user", "u")  # the second attempt is answered with 404
    await call("delete_profile_schema", schema_id)
    assert count_requests(bailian, "/entities/user/u") == 2
    with pytest.raises(BailianNotFoundError):
        await call("delete_profile_schema", schema_id)
    throttled = ErrorReply.of("Throttling.RateQuota", headers={"Retry-After": "0"}, times=1)
    faults.errors["DeleteEntity"] = throttled
    with pytest.raises(BailianNotFoundError):  # the first attempt did not run
        await call("delete_user", "u")


# -- connection and errors ---------------------------------------------------------------------------


async def test_errors_of_the_service_have_their_classes(
    call: Caller, bailian: BailianEmulator, make_library: Callable[..., BailianMemoryLibrary]
) -> None:
    with pytest.raises(BailianNotFoundError) as caught:
        await call("get", "unknown")
    assert (caught.value.status_code, bool(caught.value.request_id)) == (404, True)
    with pytest.raises(BailianNotFoundError):
        await call("wait_until_done", "unknown", **FAST)
    with pytest.raises(BailianNotFoundError):
        await call("add", "u", "好", project_id="unknown")
    bailian.memory_library.faults.errors["SearchMemory"] = ErrorReply(403, "NotActivated", "activate")
    with pytest.raises(BailianPermissionError, match="activate"):
        await call("search", "u", "?")
    call.library = make_library(api_key="sk-wrong")
    with pytest.raises(BailianAuthenticationError):
        await call("get", "unknown")


@pytest.mark.parametrize(
    ("name", "args", "problem"),
    [
        ("add", ("",), "`messages` or"),
        ("submit", ("x" * 65, "好"), "user_id"),
        ("search", ("u", ""), "messages"),
        ("list", ("",), "user_id"),
        ("get", ("a/b",), "node_id"),
        ("update", ("n", ""), "content"),
        ("delete", ("",), "node_id"),
        ("export_skill", ("",), "node_id"),
        ("get_event", ("",), "event"),
        ("wait_until_done", ("",), "event"),
        ("create_profile_schema", ("", []), "name"),
        ("get_profile_schema", ("",), "schema_id"),
        ("update_profile_schema", ("s",), "nothing to change"),
        ("delete_profile_schema", ("..",), "schema_id"),
        ("get_user_profile", ("s", ""), "user_id"),
        ("delete_user", ("..",), "user_id"),
    ],
)
async def test_nothing_is_sent_with_an_invalid_value(
    call: Caller, bailian: BailianEmulator, name: str, args: tuple[Any, ...], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        await call(name, *args)
    assert not bailian.requests


def test_a_list_checks_its_arguments_before_the_first_node_is_needed(
    make_library: Callable[..., BailianMemoryLibrary],
) -> None:
    for list_nodes in (make_library().list, make_library().alist):
        with pytest.raises(ValueError, match="invalid `page_size`"):
            list_nodes("u", page_size=0)
    for list_schemas in (make_library().list_profile_schemas, make_library().alist_profile_schemas):
        with pytest.raises(ValueError, match="invalid `page_size`"):
            list_schemas(page_size=0)


def test_an_unknown_option_is_a_type_error(make_library: Callable[..., BailianMemoryLibrary]) -> None:
    with pytest.raises(TypeError, match="min_scores"):
        make_library().search("u", "?", min_scores=0.5)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("fields", "host"),
    [
        ({}, "https://dashscope.aliyuncs.com/api/v1"),
        ({"workspace": "ws"}, "https://dashscope.aliyuncs.com/api/v1"),
        ({"workspace": "ws", "gateway": "workspace"}, "https://ws.cn-beijing.maas.aliyuncs.com/api/v1"),
    ],
)
def test_the_shared_host_or_that_of_the_workspace_is_called(fields: dict[str, Any], host: str) -> None:
    library = BailianMemoryLibrary(api_key="k", **fields)

    assert library._create_client(None).create_transport().connection.base_url == host


def test_a_copy_and_a_pickle_have_no_secret(
    bailian: BailianEmulator,
    make_library: Callable[..., BailianMemoryLibrary],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = make_library(memory_library_id="default-library")
    library.add("u", custom_content="事实")
    data = pickle.dumps(library)
    assert bailian.api_key.encode() not in data
    assert bailian.api_key not in repr(library)
    assert [node.content for node in copy.deepcopy(library).list("u")] == ["事实"]
    monkeypatch.setenv("DASHSCOPE_API_KEY", bailian.api_key)
    restored = pickle.loads(data)  # noqa: S301
    assert restored.memory_library_id == "default-library"
    assert restored.api_key is None
    assert [node.content for node in restored.list("u")] == ["事实"]
