"""Requests of `BailianMemoryLibrary`, and the values that are rejected before they are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from langchain_bailian_app.memory import (
    AttributeOperation,
    BailianMemoryLibrary,
    ProfileAttribute,
)
from langchain_bailian_app.memory._profile_requests import (
    build_create_schema,
    build_get_profile,
    build_list_schemas,
    build_update_schema,
)
from langchain_bailian_app.memory._requests import (
    build_add,
    build_delete_user,
    build_list_nodes,
    build_request,
    build_search,
    build_update_node,
    node_path,
)

if TYPE_CHECKING:
    from langchain_bailian_app._request.service_request import ServiceRequest

SKILL = {"skill_name": "订座", "skill_description": "订一个座位", "skill_tags": ["出行"]}
NO_SETTINGS = {"description": None, "plan_version": None, "extract_scene": None}


def add(messages: Any = "好", *, user_id: Any = "u", library_id: Any = None, **options: Any) -> Any:
    return build_add("add", library_id, user_id, messages, **options).body


def search(messages: Any = "好", *, user_id: Any = "u", **options: Any) -> Any:
    return build_search(None, user_id, messages, **options).body


def update(content: Any = "好", **options: Any) -> Any:
    defaults = dict.fromkeys(
        ("meta_data", "timestamp", "skill_name", "skill_description", "skill_tags")
    )
    return build_update_node(None, "n", content, **{**defaults, **options})


def create_schema(name: Any = "旅客", attributes: Any = None, **options: Any) -> ServiceRequest:
    attributes = [ProfileAttribute("座位")] if attributes is None else attributes
    return build_create_schema(None, name, attributes, **{**NO_SETTINGS, **options})


def update_schema(**options: Any) -> ServiceRequest:
    defaults = {**NO_SETTINGS, "name": None, "operations": None}
    return build_update_schema(None, "s", **{**defaults, **options})


def test_an_add_contains_all_options() -> None:
    request = build_add(
        "add-async",
        "lib",
        "u",
        "我坐靠窗。",
        project_ids=("p1", "p2"),
        profile_schema="s",
        extract_mode="profile_only",
        meta_data={"trip": 1},
        timestamp=1790000000,
        extra_parameters={"expired_in_days": 7},
    )

    assert (request.method, request.path, request.api_version) == (
        "POST",
        "apps/memory/add-async",
        "v2",
    )
    assert request.retry_on == "throttling"
    assert request.body == {
        "user_id": "u",
        "messages": [{"role": "user", "content": "我坐靠窗。"}],
        "memory_library_id": "lib",
        "project_ids": ["p1", "p2"],
        "profile_schema": "s",
        "extract_mode": "profile_only",
        "meta_data": {"trip": 1},
        "timestamp": 1790000000,
        "expired_in_days": 7,
    }


def test_a_text_is_added_as_it_is() -> None:
    body = add(None, custom_content="x" * 512, project_id="p", **SKILL)

    assert body == {"user_id": "u", "custom_content": "x" * 512, "project_id": "p"} | SKILL


def test_limits_themselves_are_valid() -> None:
    assert add(["好"] * 50, user_id="x" * 64, library_id="x" * 32, project_ids=list("abcde"))
    assert search(top_k=1, min_score=0)["min_score"] == 0
    assert search(top_k=100, min_score=1)["top_k"] == 100
    assert add(timestamp=0)["timestamp"] == 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"user_id": ""}, r"^invalid `user_id`: expected a string of 1 to 64 characters, got ''"),
        ({"user_id": " "}, "invalid `user_id`"),
        ({"user_id": None}, "invalid `user_id`"),
        ({"user_id": 7}, "invalid `user_id`: .* got 7"),
        ({"user_id": "x" * 65}, "invalid `user_id`: .* got 65"),
        ({"library_id": "x" * 33}, "invalid `memory_library_id`: expected at most 32"),
        ({"library_id": ""}, "invalid `memory_library_id`"),
        ({"messages": None}, "either `messages` or `custom_content`"),
        ({"custom_content": "好"}, "either `messages` or `custom_content`"),
        ({"messages": ["好"] * 51}, "invalid `messages`: expected at most 50, got 51"),
        ({"messages": None, "custom_content": "x" * 513}, "`custom_content`: .* at most 512"),
        ({"messages": None, "custom_content": " "}, "invalid `custom_content`: expected text"),
        (
            {"messages": None, "custom_content": "好", "project_ids": ["p"]},
            "`project_ids` with `custom_content`",
        ),
        ({"project_id": "p", "project_ids": ["q"]}, "`project_id` together with `project_ids`"),
        ({"project_id": ""}, "invalid `project_id`"),
        ({"project_ids": list("abcdef")}, "invalid `project_ids`: expected at most 5 items, got 6"),
        ({"project_ids": []}, "invalid `project_ids`"),
        ({"project_ids": "p"}, "invalid `project_ids`: expected a list"),
        ({"project_ids": ["p", ""]}, r"invalid `project_ids\[1\]`"),
        ({"profile_schema": ""}, "invalid `profile_schema`"),
        ({"extract_mode": "all"}, "invalid `extract_mode`: expected 'profile_only', got 'all'"),
        ({"extract_mode": "profile_only"}, "requires `messages` and `profile_schema`"),
        (
            {
                "messages": None,
                "custom_content": "好",
                "profile_schema": "s",
                "extract_mode": "profile_only",
            },
            "requires `messages` and `profile_schema`",
        ),
        ({"meta_data": [1]}, "invalid `meta_data`: expected a dict, got list"),
        ({"timestamp": -1}, "invalid `timestamp`"),
        ({"timestamp": 1.5}, "invalid `timestamp`: expected an integer at least 0"),
        ({"timestamp": True}, "invalid `timestamp`"),
        ({"skill_name": "订座"}, "missing `skill_description`: pass all of `skill_name`"),
        ({**SKILL, "skill_tags": None}, "missing `skill_tags`"),
        ({**SKILL, "skill_tags": []}, "invalid `skill_tags`"),
        ({**SKILL, "skill_name": ""}, "invalid `skill_name`"),
        ({"extra_parameters": {"user_id": "v"}}, "`user_id` is an option of its own"),
    ],
)
def test_invalid_values_of_an_add_are_errors(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        add(**options)


def test_a_search_contains_all_options() -> None:
    request = build_search(
        "lib",
        "u",
        [("human", "坐哪里？")],
        project_ids=["p"],
        top_k=3,
        min_score=0.5,
        memory_types=["observation", "skill"],
        plan_version="pro",
        enable_judge=True,
        enable_rewrite=False,
        extra_parameters={"query_timestamp": 1},
    )

    assert (request.path, request.retry_on) == ("apps/memory/memory_nodes/search", "failure")
    assert request.body == {
        "user_id": "u",
        "messages": [{"role": "user", "content": "坐哪里？"}],
        "memory_library_id": "lib",
        "project_ids": ["p"],
        "top_k": 3,
        "min_score": 0.5,
        "memory_types": ["observation", "skill"],
        "plan_version": "pro",
        "enable_judge": True,
        "enable_rewrite": False,
        "query_timestamp": 1,
    }
    assert search() == {"user_id": "u", "messages": [{"role": "user", "content": "好"}]}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"user_id": "x" * 65}, "invalid `user_id`"),
        ({"top_k": 0}, "invalid `top_k`: expected an integer from 1 to 100, got 0"),
        ({"top_k": 101}, "invalid `top_k`"),
        ({"top_k": 1.0}, "invalid `top_k`"),
        ({"min_score": -0.1}, "invalid `min_score`: expected a number from 0 to 1, got -0.1"),
        ({"min_score": 1.1}, "invalid `min_score`"),
        ({"min_score": float("nan")}, "invalid `min_score`"),
        ({"min_score": True}, "invalid `min_score`"),
        ({"min_score": "0.5"}, "invalid `min_score`"),
        ({"min_score": 0.5, "plan_version": "lite"}, "`min_score` with the plan `lite`"),
        ({"min_score": 0.5, "enable_rerank": False}, "`min_score` with the plan `lite`"),
        ({"plan_version": "max"}, "invalid `plan_version`: expected 'pro' or 'lite', got 'max'"),
        ({"plan_version": "pro", "enable_rerank": True}, "`enable_rerank` with `plan_version`"),
        ({"memory_types": []}, "invalid `memory_types`"),
        ({"memory_types": "skill"}, "invalid `memory_types`: expected a list"),
        ({"memory_types": ["fact"]}, "expected 'observation' or 'skill', got 'fact'"),
        ({"project_id": "p", "project_ids": ["q"]}, "`project_id` together with `project_ids`"),
        ({"extra_parameters": {"top_k": 1}}, "`top_k` is an option of its own"),
    ],
)
def test_invalid_values_of_a_search_are_errors(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        search(**options)


def test_a_page_of_nodes_is_requested_with_query_parameters() -> None:
    request = build_list_nodes("lib", "u", project_id="p", page=2, page_size=50)

    assert (request.method, request.body) == ("GET", None)
    assert request.params == {
        "user_id": "u",
        "project_id": "p",
        "memory_library_id": "lib",
        "page_num": "2",
        "page_size": "50",
    }
    with pytest.raises(ValueError, match="invalid `page_size`: expected an integer at least 1, got 0"):
        build_list_nodes(None, "u", project_id=None, page=1, page_size=0)
    with pytest.raises(ValueError, match="invalid `project_id`"):
        build_list_nodes(None, "u", project_id="", page=1, page_size=1)


def test_an_update_contains_only_what_is_set() -> None:
    request = update("好", meta_data={"a": 1}, timestamp=5, **SKILL)

    assert (request.method, request.path) == ("PATCH", "apps/memory/memory_nodes/n")
    assert request.body == {"custom_content": "好", "meta_data": {"a": 1}, "timestamp": 5} | SKILL
    assert update("好").body == {"custom_content": "好"}
    with pytest.raises(ValueError, match="invalid `content`: expected text"):
        update("")
    with pytest.raises(ValueError, match="invalid `content`: expected at most 512"):
        update("x" * 513)
    with pytest.raises(ValueError, match="missing `skill_name`"):
        update("好", skill_tags=["a"])


@pytest.mark.parametrize("node_id", ["", "a/b", "..", None, "x" * 129])
def test_an_invalid_id_does_not_become_part_of_a_url(node_id: Any) -> None:
    with pytest.raises(ValueError, match="invalid `node_id`"):
        node_path(node_id)


def test_a_user_id_is_quoted_in_a_url() -> None:
    assert build_delete_user("小明/a?b%").path == (
        "apps/memory/entities/user/%E5%B0%8F%E6%98%8E%2Fa%3Fb%25"
    )
    for user_id in (".", ".."):
        with pytest.raises(ValueError, match="would name another resource"):
            build_delete_user(user_id)
    with pytest.raises(ValueError, match="invalid `user_id`"):
        build_delete_user("")


def test_requests_that_may_run_twice_are_marked() -> None:
    assert build_request("a").retry_on == "failure"
    assert create_schema().retry_on == update_schema(name="a").retry_on == "throttling"


# -- profiles ----------------------------------------------------------------------------------------


def test_a_schema_contains_its_attributes() -> None:
    attributes = [
        ProfileAttribute("座位", "靠窗还是过道", extra={"new_field": 1}),
        ProfileAttribute("会员", default_value="否", immutable=True),
    ]
    request = create_schema(
        "旅客", attributes, description="", plan_version="pro", extract_scene="intelligent"
    )

    assert request.body == {
        "name": "旅客",
        "description": "",
        "plan_version": "pro",
        "extract_scene": "intelligent",
        "attributes": [
            {"name": "座位", "description": "靠窗还是过道", "new_field": 1},
            {"name": "会员", "default_value": "否", "immutable": True},
        ],
    }


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"name": ""}, "invalid `name`"),
        ({"name": "x" * 33}, "invalid `name`: expected at most 32 characters, got 33"),
        ({"attributes": []}, "`attributes`: expected a list of at least one `ProfileAttribute`"),
        ({"attributes": ["座位"]}, "invalid `attributes`"),
        ({"attributes": "座位"}, "invalid `attributes`"),
        ({"attributes": [ProfileAttribute("")]}, r"invalid `attributes\[0\].name`"),
        ({"attributes": [ProfileAttribute("x" * 33)]}, "at most 32"),
        ({"attributes": [ProfileAttribute("a", "x" * 129)]}, r"\[0\].description`: .* 128"),
        ({"attributes": [ProfileAttribute("a", default_value="x" * 129)]}, "default_value`: .* 128"),
        ({"attributes": [ProfileAttribute("a", immutable=True)]}, r"missing .*\[0\].default_value"),
        ({"attributes": [ProfileAttribute("a", id="i")]}, "`id` is assigned by the service"),
        (
            {"attributes": [ProfileAttribute("a", extra={"name": "b"})]},
            "`name` is an option of its own",
        ),
        ({"description": 7}, "invalid `description`"),
        ({"plan_version": "max"}, "invalid `plan_version`"),
        ({"extract_scene": "fast"}, "invalid `extract_scene`"),
        ({"plan_version": "lite", "extract_scene": "intelligent"}, "requires `plan_version='pro'`"),
    ],
)
def test_invalid_values_of_a_schema_are_errors(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        create_schema(**options)


def test_a_schema_is_changed_by_operations() -> None:
    request = update_schema(
        name="旅客",
        operations=[
            AttributeOperation("add", name="餐食", default_value="无", immutable=True),
            AttributeOperation("update", "a1", name="座位", description="靠窗还是过道"),
            AttributeOperation("delete", "a2"),
        ],
    )

    assert (request.method, request.path) == ("PATCH", "apps/memory/profile_schemas/s")
    assert request.body == {
        "name": "旅客",
        "attributes_operations": [
            {"op": "add", "name": "餐食", "default_value": "无", "immutable": True},
            {"op": "update", "attribute_id": "a1", "name": "座位", "description": "靠窗还是过道"},
            {"op": "delete", "attribute_id": "a2"},
        ],
    }


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "nothing to change: pass `name`"),
        ({"operations": []}, "invalid `operations`: expected a list of at least one"),
        ({"name": "x" * 33}, "invalid `name`"),
        ({"plan_version": "max"}, "invalid `plan_version`"),
        ({"operations": [AttributeOperation("move", "a")]}, r"invalid `operations\[0\].op`"),  # type: ignore[arg-type]
        ({"operations": [AttributeOperation("add")]}, r"missing `operations\[0\].name`"),
        ({"operations": [AttributeOperation("update", name="b")]}, "missing .*attribute_id`"),
        ({"operations": [AttributeOperation("delete")]}, "missing .*attribute_id`"),
        ({"operations": [AttributeOperation("add", "a", "b")]}, "cannot use .*attribute_id`"),
        ({"operations": [AttributeOperation("delete", "a", "b")]}, "cannot use .*name`"),
        (
            {"operations": [AttributeOperation("update", "a", immutable=False)]},
            "cannot use .*immutable`",
        ),
        ({"operations": [AttributeOperation("add", name="b", immutable=True)]}, "default_value"),
        ({"operations": [AttributeOperation("add", name="x" * 33)]}, "at most 32"),
        (
            {"operations": [AttributeOperation("update", "a", description="x" * 129)]},
            "at most 128",
        ),
    ],
)
def test_invalid_changes_of_a_schema_are_errors(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        update_schema(**options)


def test_schemas_and_profiles_are_requested_with_query_parameters() -> None:
    schemas = build_list_schemas("lib", page=1, page_size=10)
    profile = build_get_profile("lib", "s", "u", need_detail=True)

    assert schemas.params == {"memory_library_id": "lib", "page_num": "1", "page_size": "10"}
    assert profile.path == "apps/memory/profile_schemas/s/user_profile"
    assert profile.params == {"user_id": "u", "memory_library_id": "lib", "need_detail": "true"}
    assert build_get_profile(None, "s", "u", need_detail=False).params == {"user_id": "u"}


def test_the_id_of_the_library_is_checked_when_the_client_is_created() -> None:
    assert BailianMemoryLibrary(memory_library_id="lib").memory_library_id == "lib"
    with pytest.raises(ValidationError, match="at most 32"):
        BailianMemoryLibrary(memory_library_id="x" * 33)
    with pytest.raises(ValidationError, match="unknown field `library_id`"):
        BailianMemoryLibrary(library_id="lib")  # type: ignore[call-arg]
