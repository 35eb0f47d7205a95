"""The routes of memory libraries, as any client sees them, and the switches for what is unverified."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from langchain_bailian_app.emulator import BailianEmulator, ErrorReply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clock import Clock

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
UNIX_TIME = int(NOW.timestamp())
RULE = "default-library-rule"
USER = {"user_id": "u"}
LIKES_TEA = [{"role": "user", "content": "我喜欢茶。"}]
SKILL: dict[str, Any] = {
    "skill_name": "订座",
    "skill_description": "订一个座位",
    "skill_tags": ["出行"],
}
DAY = 86_400.0


@pytest.fixture
def bailian(clock: Clock) -> Iterator[BailianEmulator]:
    with BailianEmulator(seed_apps=False, clock=clock, now=lambda: NOW) as emulator:
        yield emulator


def send(
    bailian: BailianEmulator, method: str, path: str, body: Any = None, **query: str
) -> httpx.Response:
    url = f"{bailian.base_url.removesuffix('/api/v1')}/api/v2/apps/memory/{path}"
    headers = {"Authorization": f"Bearer {bailian.api_key}"}
    return httpx.request(method, url, json=body, params=query or None, headers=headers, trust_env=False)


def post(bailian: BailianEmulator, path: str, **body: Any) -> dict[str, Any]:
    response = send(bailian, "POST", path, body)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result


def add_fact(bailian: BailianEmulator, content: str = "事实", **body: Any) -> str:
    nodes = post(bailian, "add", **{"user_id": "u", "custom_content": content} | body)["memory_nodes"]
    return str(nodes[0]["memory_node_id"])


def list_contents(bailian: BailianEmulator, **query: str) -> list[str]:
    nodes = send(bailian, "GET", "memory_nodes", **{"user_id": "u"} | query).json()["memory_nodes"]
    return [node["content"] for node in nodes]


def search(bailian: BailianEmulator, query: str = "茶", **body: Any) -> list[str]:
    messages = [{"role": "user", "content": query}]
    reply = post(bailian, "memory_nodes/search", **{"user_id": "u", "messages": messages} | body)
    return [node["content"] for node in reply["memory_nodes"]]


def create_schema(bailian: BailianEmulator) -> str:
    reply = post(bailian, "profile_schemas", name="旅客", attributes=[{"name": "爱好"}])
    return str(reply["profile_schema_id"])


# -- shapes ------------------------------------------------------------------------------------------


def test_replies_have_the_documented_shapes(bailian: BailianEmulator) -> None:
    added = post(bailian, "add", user_id="u", messages=LIKES_TEA)
    (node,) = added["memory_nodes"]
    node_id = node["memory_node_id"]
    assert added.keys() == {"request_id", "memory_nodes"}
    assert node == {"memory_node_id": node_id, "content": "用户喜欢茶。", "event": "ADD"}

    stored = {
        "memory_node_id": node_id,
        "content": "用户喜欢茶。",
        "memory_type": "observation",
        "status": "valid",
        "project_id": RULE,
        "meta_data": {},
        "timestamp": UNIX_TIME,
        "created_at": UNIX_TIME,
        "updated_at": UNIX_TIME,
    }
    listed = send(bailian, "GET", "memory_nodes", user_id="u")
    assert listed.json() == {
        "request_id": listed.headers["x-request-id"],
        "memory_nodes": [stored],
        "total": 1,
        "page_num": 1,
        "page_size": 10,
    }
    got = send(bailian, "GET", f"memory_nodes/{node_id}").json()
    assert got["memory_node"] == stored | {"media_urls": []}
    found = post(bailian, "memory_nodes/search", user_id="u", messages=LIKES_TEA)
    assert found.keys() == {"request_id", "plan_version", "memory_nodes"}
    assert found["memory_nodes"] == [stored | {"score": found["memory_nodes"][0]["score"]}]
    updated = send(bailian, "PATCH", f"memory_nodes/{node_id}", {"custom_content": "新"})
    assert updated.json() == {"request_id": updated.headers["x-request-id"]}
    deleted = send(bailian, "DELETE", f"memory_nodes/{node_id}")
    assert deleted.json().keys() == {"request_id"}
    assert send(bailian, "GET", f"memory_nodes/{node_id}").json()["memory_node"]["status"] == "delete"
    assert list_contents(bailian) == search(bailian) == []


def test_an_event_has_an_entry_per_rule_and_schema(bailian: BailianEmulator) -> None:
    rule, schema_id = bailian.memory_library.add_project("rule-2"), create_schema(bailian)
    reply = post(
        bailian,
        "add-async",
        user_id="u",
        messages=LIKES_TEA,
        project_ids=[RULE, rule],
        profile_schema=schema_id,
    )
    assert reply.keys() == {"request_id", "event_id", "events"}
    assert reply["events"][0] == {
        "event_id": reply["event_id"],
        "event_type": "ADD_ASYNC",
        "memory_library_id": "default-library",
        "resource_id": RULE,
        "resource_type": "observation",
        "status": "PENDING",
        "result": [],
        "created_at": UNIX_TIME,
        "updated_at": UNIX_TIME,
        "user_id": "u",
    }
    ended = send(bailian, "GET", f"events/{reply['event_id']}").json()
    assert ended.keys() == {"request_id", "events"}
    # In another order than in the first reply, as recorded.
    assert [entry["resource_id"] for entry in ended["events"]] == [schema_id, rule, RULE]
    profile, _, facts = ended["events"]
    assert (profile["status"], profile["result"]) == ("SUCCEEDED", [])  # nothing changed
    (result,) = facts["result"]
    assert result.keys() == {"memory_type", "content", "event", "memory_node_id"}


@pytest.mark.parametrize(
    ("body", "resource_type"),
    [
        ({"messages": LIKES_TEA}, "observation"),
        ({"messages": LIKES_TEA, "project_id": "skills"}, "skill"),
        ({"custom_content": "好"}, "custom_observation"),
        ({"custom_content": "好", "project_id": "skills", **SKILL}, "custom_skill"),
    ],
)
def test_the_type_of_an_entry(
    bailian: BailianEmulator, body: dict[str, Any], resource_type: str
) -> None:
    bailian.memory_library.add_project("skills", "skill")
    reply = post(bailian, "add-async", user_id="u", **body)

    assert [entry["resource_type"] for entry in reply["events"]] == [resource_type]


def test_a_skill_is_exported_and_a_fact_too(bailian: BailianEmulator) -> None:
    bailian.memory_library.add_project("skills", "skill")
    skill_id = add_fact(bailian, "先问日期", project_id="skills", **SKILL)
    exported = send(bailian, "GET", f"skill/export/{skill_id}").json()["memory_node"]
    fact = send(bailian, "GET", f"skill/export/{add_fact(bailian)}").json()["memory_node"]

    assert exported.items() >= {**SKILL, "content": "先问日期", "memory_type": "skill"}.items()
    assert not SKILL.keys() & fact.keys()
    assert list_contents(bailian) == ["事实"]  # a skill is listed with its rule only
    assert len(list_contents(bailian, project_id="skills")) == 1


def test_profile_schemas_have_the_recorded_shapes(bailian: BailianEmulator) -> None:
    schema_id = create_schema(bailian)
    schemas = send(bailian, "GET", "profile_schemas").json()
    got = send(bailian, "GET", f"profile_schemas/{schema_id}").json()

    assert schemas.keys() == {"request_id", "profile_schemas", "total"}  # no fields of the page
    fields = {"name": "旅客", "description": "", "plan_version": "pro", "extract_scene": "efficient"}
    assert schemas["profile_schemas"] == [{"profile_schema_id": schema_id, **fields}]
    (attribute,) = got.pop("attributes")
    assert attribute.keys() == {"attribute_id", "name"}  # what is not set is absent
    assert got == {"request_id": got["request_id"], **fields}


# -- extraction --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "facts"),
    [
        (["我叫小明，我喜欢茶。你呢？"], ["用户叫小明。", "用户喜欢茶。"]),
        (["I love tea. What is it?"], ["The user loves tea."]),
        (["我明天去上海。天气很好。"], ["我明天去上海。"]),
        (["My train leaves at 9."], ["My train leaves at 9."]),
        (["我喜欢什么？", "你好"], []),
        (["我喜欢茶。", "我喜欢茶。"], ["用户喜欢茶。"]),
        (["我叫小明。", "我叫小红。"], ["用户叫小明。", "用户叫小红。"]),
    ],
)
def test_sentences_of_the_user_become_facts(
    bailian: BailianEmulator, messages: list[str], facts: list[str]
) -> None:
    conversation = [{"role": "user", "content": text} for text in messages]
    conversation.append({"role": "assistant", "content": "我喜欢咖啡。"})
    post(bailian, "add", user_id="u", messages=conversation)

    assert list_contents(bailian) == facts[::-1]


def test_parts_of_a_message_are_read(bailian: BailianEmulator) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "https://a.example/1.png"}},
        {"type": "text", "text": "我喜欢茶。"},
    ]
    post(bailian, "add", user_id="u", messages=[{"role": "user", "content": parts}])
    assert list_contents(bailian) == ["用户喜欢茶。"]


def test_a_new_name_replaces_the_old_one_and_a_dislike_deletes(bailian: BailianEmulator) -> None:
    post(bailian, "add", user_id="u", messages=[{"role": "user", "content": "我叫小明。我喜欢茶。"}])
    text = "我叫小红。我不喜欢茶了。我不再喜欢咖啡。"
    changes = post(bailian, "add", user_id="u", messages=[{"role": "user", "content": text}])

    events = [(node["event"], node["content"]) for node in changes["memory_nodes"]]
    assert events == [("UPDATE", "用户叫小红。"), ("DELETE", "用户喜欢茶。")]
    assert changes["memory_nodes"][0]["old_content"] == "用户叫小明。"


def test_values_of_a_profile_are_joined(bailian: BailianEmulator) -> None:
    attributes = [
        {"name": "姓名"},
        {"name": "hobby"},
        {"name": "会员", "immutable": True, "default_value": "否"},
    ]
    reply = post(bailian, "profile_schemas", name="旅客", attributes=attributes)
    schema_id = reply["profile_schema_id"]
    for text in ("我叫小明。My hobby is chess.", "My hobby is tea. 我的会员是金卡。", "我叫小明。"):
        message = {"role": "user", "content": text}
        post(bailian, "add", user_id="u", messages=[message], profile_schema=schema_id)
    path = f"profile_schemas/{schema_id}/user_profile"
    profile = send(bailian, "GET", path, user_id="u").json()["profile"]
    detail = send(bailian, "GET", path, user_id="u", need_detail="true").json()["profile"]

    assert [attribute.get("value") for attribute in profile["attributes"]] == [
        "小明",
        "chess; tea",
        None,
    ]
    assert "value" not in profile["attributes"][2]
    assert [len(attribute["value_items"]) for attribute in detail["attributes"]] == [1, 2, 0]


def test_nodes_are_ranked_by_common_words(bailian: BailianEmulator) -> None:
    for fact in ("用户喜欢爬山。", "用户住在杭州。", "用户喜欢喝茶。"):
        add_fact(bailian, fact)

    assert search(bailian, "用户喜欢什么？", min_score=0.31) == [
        "用户喜欢爬山。",
        "用户喜欢喝茶。",
        "用户住在杭州。",
    ]
    assert search(bailian, "用户喜欢喝茶吗？", top_k=1) == ["用户喜欢喝茶。"]
    assert len(search(bailian, "天气", min_score=0.3)) == 3
    assert search(bailian, "天气", min_score=0.31) == []
    assert len(search(bailian, "天气", min_score=0.31, plan_version="LITE")) == 3


# -- rejections --------------------------------------------------------------------------------------

ADD = {"user_id": "u", "custom_content": "好"}
SEARCH = {"user_id": "u", "messages": LIKES_TEA}


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("add", {"custom_content": "好"}, "user_id"),
        ("add", ADD | {"user_id": "x" * 65}, "1 to 64"),
        ("add", ADD | {"user_id": 7}, "of type str"),
        ("add", USER, "messages or custom_content"),
        ("add", ADD | {"custom_content": "x" * 513}, "1 to 512"),
        ("add", ADD | {"project_ids": [RULE]}, "bound to one project"),
        ("add", USER | {"messages": LIKES_TEA * 51}, "at most 50"),
        ("add", USER | {"messages": [{"role": "system", "content": "好"}]}, "user, assistant or tool"),
        ("add", USER | {"messages": ["好"]}, "user, assistant or tool"),
        ("add", USER | {"messages": [{"role": "user", "content": 7}]}, "a string or an array"),
        ("add", USER | {"messages": [{"role": "user", "content": [{"type": "x"}]}]}, "text or image"),
        ("add", USER | {"messages": [{"role": "tool", "content": "好"}]}, "tool_call_id"),
        ("add", SEARCH | {"project_id": RULE, "project_ids": [RULE]}, "mutually exclusive"),
        ("add", SEARCH | {"project_ids": list("abcdef")}, "at most 5"),
        ("add", SEARCH | {"extract_mode": "profile_only"}, "profile_only requires"),
        ("add", ADD | {"meta_data": 7}, "an object"),
        ("add", ADD | {"project_id": "skills"}, "skill_name, skill_description and skill_tags"),
        ("add-async", ADD | {"project_ids": [RULE]}, "bound to one project"),
        ("memory_nodes/search", USER, "messages is required"),
        ("memory_nodes/search", SEARCH | {"min_score": 1.5}, "min_score"),
        ("memory_nodes/search", SEARCH | {"min_score": True}, "min_score"),
        ("memory_nodes/search", SEARCH | {"top_k": 0}, "top_k"),
        ("memory_nodes/search", SEARCH | {"plan_version": "max"}, "plan_version"),
        ("memory_nodes/search", SEARCH | {"memory_types": ["x"]}, "memory_types"),
        (
            "memory_nodes/search",
            SEARCH | {"project_id": "skills", "plan_version": "lite"},
            "does not support skill",
        ),
        ("profile_schemas", {"name": "x" * 33, "attributes": [{"name": "a"}]}, "1 to 32"),
        ("profile_schemas", {"name": "a", "attributes": []}, "attributes is required"),
        ("profile_schemas", {"name": "a", "attributes": ["b"]}, "must be an object"),
        (
            "profile_schemas",
            {"name": "a", "attributes": [{"name": "b", "description": "x" * 129}]},
            "at most 128",
        ),
        (
            "profile_schemas",
            {"name": "a", "attributes": [{"name": "b", "immutable": True}]},
            "default_value is required",
        ),
        (
            "profile_schemas",
            {"name": "a", "attributes": [{"name": "b"}], "extract_scene": "x"},
            "efficient or intelligent",
        ),
        (
            "profile_schemas",
            {
                "name": "a",
                "attributes": [{"name": "b"}],
                "extract_scene": "intelligent",
                "plan_version": "lite",
            },
            "requires plan_version pro",
        ),
    ],
)
def test_invalid_requests_are_rejected(
    bailian: BailianEmulator, path: str, body: dict[str, Any], message: str
) -> None:
    bailian.memory_library.add_project("skills", "skill")
    response = send(bailian, "POST", path, body)
    reply = response.json()

    assert (response.status_code, reply["code"]) == (400, "InvalidParameter")
    assert message in reply["message"]
    assert reply["request_id"] == response.headers["x-request-id"]
    assert not bailian.memory_library.nodes


@pytest.mark.parametrize(
    ("query", "message"),
    [({"page_num": "0"}, "page_num"), ({"page_size": "x"}, "page_size"), ({"page_size": "101"}, "100")],
)
def test_invalid_pages_are_rejected(
    bailian: BailianEmulator, query: dict[str, str], message: str
) -> None:
    response = send(bailian, "GET", "memory_nodes", user_id="u", **query)

    assert response.status_code == 400
    assert message in response.json()["message"]


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ([], "Nothing to update"),
        ([{"op": "move"}], "op must be"),
        ([{"op": "update", "attribute_id": "unknown"}], "existing attribute_id"),
        ([{"op": "add"}], "name must have"),
    ],
)
def test_invalid_changes_of_a_schema_are_rejected(
    bailian: BailianEmulator, operations: list[dict[str, Any]], message: str
) -> None:
    body = {"attributes_operations": operations}
    response = send(bailian, "PATCH", f"profile_schemas/{create_schema(bailian)}", body)

    assert response.status_code == 400
    assert message in response.json()["message"]


def test_a_wrong_key_and_a_body_that_is_not_json_are_rejected(bailian: BailianEmulator) -> None:
    url = f"{bailian.base_url.removesuffix('/v1')}/v2/apps/memory/add"
    headers = {"Authorization": f"Bearer {bailian.api_key}"}
    wrong_key = httpx.post(url, json=ADD, headers={"Authorization": "Bearer x"}, trust_env=False)
    no_json = httpx.post(url, content="[", headers=headers, trust_env=False)

    assert (wrong_key.status_code, no_json.status_code) == (401, 400)


# -- switches ----------------------------------------------------------------------------------------


def test_the_older_path_of_a_search(bailian: BailianEmulator) -> None:
    add_fact(bailian, "用户喜欢茶。")
    body = {"user_id": "u", "query": "喜欢茶", "max_results": 1, "similarity_threshold": 0.3}
    assert send(bailian, "POST", "search", body).status_code == 404
    bailian.memory_library.settings.legacy_search = True
    assert len(post(bailian, "search", **body)["memory_nodes"]) == 1
    assert send(bailian, "POST", "search", {"user_id": "u"}).status_code == 400


def test_the_fields_of_a_synchronous_add(bailian: BailianEmulator) -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    with_tool = [*LIKES_TEA, {"role": "assistant", "content": "", "tool_calls": calls}]
    bodies: list[dict[str, Any]] = [
        USER | {"messages": with_tool},
        USER | {"messages": [*LIKES_TEA, {"role": "tool", "content": "好", "tool_call_id": "c"}]},
        USER | {"messages": LIKES_TEA, "project_ids": [RULE]},
    ]
    assert [send(bailian, "POST", "add", body).status_code for body in bodies] == [200] * 3
    bailian.memory_library.settings.sync_fields = "refuse"
    assert [send(bailian, "POST", "add", body).status_code for body in bodies] == [400] * 3
    assert [send(bailian, "POST", "add-async", body).status_code for body in bodies] == [200] * 3


def test_an_extraction_takes_time(bailian: BailianEmulator, clock: Clock) -> None:
    bailian.memory_library.settings.extract_delay = 30.0
    event_id = post(bailian, "add-async", user_id="u", messages=LIKES_TEA)["event_id"]

    def read_entry() -> tuple[str, int]:
        (entry,) = send(bailian, "GET", f"events/{event_id}").json()["events"]
        return entry["status"], len(entry["result"])

    clock.now = 29.0
    assert (read_entry(), list_contents(bailian)) == (("RUNNING", 0), [])
    clock.now = 30.0
    assert (read_entry(), list_contents(bailian)) == (("SUCCEEDED", 1), ["用户喜欢茶。"])


def test_a_synchronous_extraction_delays_the_reply_but_a_given_text_does_not(
    bailian: BailianEmulator,
) -> None:
    bailian.memory_library.settings.extract_delay = 0.2
    slow = send(bailian, "POST", "add", USER | {"messages": LIKES_TEA})
    fast = send(bailian, "POST", "add", ADD)

    assert slow.elapsed.total_seconds() >= 0.2 > fast.elapsed.total_seconds()


def test_a_node_is_searched_after_a_lag(bailian: BailianEmulator, clock: Clock) -> None:
    bailian.memory_library.settings.index_lag = 5.0
    add_fact(bailian)
    assert (search(bailian), list_contents(bailian)) == ([], ["事实"])
    clock.now = 5.0
    assert search(bailian) == ["事实"]


def test_nodes_expire_by_their_rule_or_never(bailian: BailianEmulator, clock: Clock) -> None:
    library = bailian.memory_library
    library.add_project("two-weeks", expired_in_days=14)
    library.add_project("forever", expired_in_days=None)
    for rule in (RULE, "two-weeks", "forever"):
        add_fact(bailian, project_id=rule)

    def count() -> list[int]:
        return [len(list_contents(bailian, project_id=rule)) for rule in (RULE, "two-weeks", "forever")]

    clock.now = 181 * DAY
    assert count() == [1, 1, 1]
    library.settings.expiry = "by_rule"
    assert count() == [0, 0, 1]
    clock.now = 15 * DAY
    assert count() == [1, 0, 1]


def test_one_of_two_names_for_the_types_counts(bailian: BailianEmulator) -> None:
    bailian.memory_library.add_project("skills", "skill")
    add_fact(bailian, project_id="skills", **SKILL)
    body: dict[str, Any] = {
        "project_id": "skills",
        "memory_types": ["observation"],
        "memory_type": "skill",
    }
    assert search(bailian, **body) == []
    bailian.memory_library.settings.type_alias = "singular"
    assert len(search(bailian, **body)) == 1
    assert len(search(bailian, project_id="skills", memory_type="skill")) == 1


def test_the_older_field_selects_the_plan(bailian: BailianEmulator) -> None:
    plans = [
        post(bailian, "memory_nodes/search", **SEARCH, **options)["plan_version"]
        for options in (
            {},
            {"enable_rerank": True},
            {"enable_rerank": False},
            {"enable_rerank": False, "plan_version": "pro"},
        )
    ]
    assert plans == ["pro", "pro", "lite", "pro"]


def test_the_maximum_page_and_the_code_for_what_does_not_exist(bailian: BailianEmulator) -> None:
    settings = bailian.memory_library.settings
    settings.page_max, settings.node_404_code = 5, "MemoryNodeNotFound"
    unknown = send(bailian, "GET", "memory_nodes/n")

    assert send(bailian, "GET", "memory_nodes", user_id="u", page_size="6").status_code == 400
    assert (unknown.status_code, unknown.json()["code"]) == (404, "MemoryNodeNotFound")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "memory_nodes/n", None),
        ("GET", "events/e", None),
        ("GET", "profile_schemas/s", None),
        ("POST", "add", ADD | {"project_id": "p"}),
        ("POST", "add", ADD | {"memory_library_id": "lib"}),
        ("POST", "add", ADD | {"profile_schema": "s"}),
    ],
)
def test_what_does_not_exist_is_answered_with_404(
    bailian: BailianEmulator, method: str, path: str, body: Any
) -> None:
    assert send(bailian, method, path, body).status_code == 404


# -- quotas and faults -------------------------------------------------------------------------------


def test_quotas_apply_per_minute(bailian: BailianEmulator, clock: Clock) -> None:
    settings = bailian.memory_library.settings
    settings.adds_per_minute, settings.searches_per_minute, settings.calls_per_minute = 2, 1, 4
    settings.quota_code = "QuotaExceeded"
    adds = [send(bailian, "POST", path, ADD) for path in ("add", "add-async", "add")]
    searches = [send(bailian, "POST", "memory_nodes/search", SEARCH) for _ in range(2)]

    assert [response.status_code for response in adds] == [200, 200, 429]
    assert adds[2].json()["code"] == "QuotaExceeded"
    assert [response.status_code for response in searches] == [200, 429]
    clock.now = 60.0
    assert send(bailian, "POST", "add", ADD).status_code == 200


def test_errors_and_lost_replies(bailian: BailianEmulator) -> None:
    faults = bailian.memory_library.faults
    faults.errors["AddMemory"] = ErrorReply.of("InternalError", times=1)
    faults.lost_replies["AddMemory"] = 1
    assert send(bailian, "POST", "add", ADD).status_code == 500
    assert list_contents(bailian) == []
    with pytest.raises(httpx.RemoteProtocolError):
        send(bailian, "POST", "add", ADD)
    assert list_contents(bailian) == ["好"]  # it was run
    assert send(bailian, "POST", "add", ADD).status_code == 200


@pytest.mark.parametrize("status", ["FAILED", "UNRECORDED"])
def test_an_entry_can_fail(bailian: BailianEmulator, status: str) -> None:
    bailian.memory_library.faults.entry_statuses["observation"] = status
    event_id = post(bailian, "add-async", user_id="u", messages=LIKES_TEA)["event_id"]
    (entry,) = send(bailian, "GET", f"events/{event_id}").json()["events"]

    assert (entry["status"], entry["result"], list_contents(bailian)) == (status, [], [])


def test_requests_are_recorded_and_a_reset_keeps_rules_and_settings(bailian: BailianEmulator) -> None:
    library = bailian.memory_library
    library.add_project("rule-2")
    library.settings.page_max = 20
    add_fact(bailian, memory_library_id=library.add_library("lib-2"))
    create_schema(bailian)
    assert bailian.requests[0].path == "/api/v2/apps/memory/add"
    assert bailian.requests[0].body["memory_library_id"] == "lib-2"
    assert list_contents(bailian) == []
    bailian.reset()

    assert not library.nodes
    assert not library.schemas
    assert not bailian.requests
    assert list_contents(bailian, project_id="rule-2") == []
    assert library.settings.page_max == 20


def test_a_user_id_may_contain_any_characters(bailian: BailianEmulator) -> None:
    post(bailian, "add", user_id="小明/a b", custom_content="好")

    assert list_contents(bailian, user_id="小明/a b") == ["好"]
    assert send(bailian, "DELETE", "entities/user/%E5%B0%8F%E6%98%8E%2Fa%20b").status_code == 200
    again = send(bailian, "DELETE", "entities/user/%E5%B0%8F%E6%98%8E%2Fa%20b")
    assert (again.status_code, again.json()["code"]) == (404, "EntityNotFound")
