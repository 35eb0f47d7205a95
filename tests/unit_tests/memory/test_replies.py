"""Parsing of the responses to `BailianMemoryLibrary`, in the shapes of the documentation."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app._transport.workspace_client import WorkspaceReply
from langchain_bailian_app.errors import BailianRequestError, BailianServerError
from langchain_bailian_app.memory import (
    AddResult,
    LibraryNode,
    MemoryChange,
    MemoryEvent,
    MemoryEventEntry,
    MemorySkill,
    ProfileAttribute,
    ProfileSchema,
    ProfileValue,
    ProfileValueItem,
    SearchResult,
    UserProfile,
)
from langchain_bailian_app.memory import _replies as replies

if TYPE_CHECKING:
    from collections.abc import Callable

NODE = {
    "memory_node_id": "n-31",
    "content": "乘客靠窗坐",
    "memory_type": "observation",
    "score": 0.81,
    "status": "valid",
    "project_id": "prj-1",
    "meta_data": {"trip": 1},
    "timestamp": 1790000000,
    "created_at": 1790000031,
    "updated_at": 1790000032,
}
PARSED_NODE = LibraryNode(
    id="n-31",
    content="乘客靠窗坐",
    memory_type="observation",
    status="valid",
    score=0.81,
    project_id="prj-1",
    meta_data={"trip": 1},
    timestamp=1790000000,
    created_at=1790000031,
    updated_at=1790000032,
)
ENTRY = {
    "event_id": "e-7",
    "event_type": "ADD_ASYNC",
    "memory_library_id": "lib-1",
    "resource_id": "prj-1",
    "resource_type": "observation",
    "status": "SUCCEEDED",
    "result": [
        {
            "memory_type": "observation",
            "content": "靠窗",
            "event": "UPDATE",
            "memory_node_id": "n-31",
            "old_content": "过道",
        },
        {"memory_type": "user_profile", "content": "靠窗", "event": "ADD", "name": "座位"},
    ],
    "created_at": 1790000000,
    "updated_at": 1790000030,
    "user_id": "u-9",
}


def reply(**fields: Any) -> WorkspaceReply:
    return WorkspaceReply(fields, "r-01")


def test_the_changes_of_an_add() -> None:
    change = {"memory_node_id": "n-31", "content": "乘客靠窗坐", "event": "ADD"}
    result = replies.parse_add(reply(memory_nodes=[change], usage={"tokens": 1}))

    expected_change = MemoryChange(event="ADD", content="乘客靠窗坐", node_id="n-31")
    assert result == AddResult((expected_change,), "r-01", {"usage": {"tokens": 1}})
    assert replies.parse_add(reply(memory_nodes=[])).changes == ()


def test_the_nodes_of_a_search() -> None:
    node = NODE | {"score": 1, "media_desc": "", "multimodal_medias": []}
    result = replies.parse_search(reply(plan_version="pro", memory_nodes=[NODE, node]))

    assert result == SearchResult((PARSED_NODE, result.nodes[1]), "pro", "r-01")
    assert result.nodes[1].score == 1
    assert result.nodes[1].extra == {"media_desc": "", "multimodal_medias": []}


def test_a_page_and_a_single_node() -> None:
    page = reply(memory_nodes=[NODE], total=7, page_num=1, page_size=10)

    assert replies.parse_node_page(page) == ((PARSED_NODE,), 7)
    assert replies.parse_node_page(reply(memory_nodes=[])) == ((), None)
    assert replies.parse_node(reply(memory_node=NODE)) == PARSED_NODE


def test_missing_null_and_unexpected_values_of_a_node() -> None:
    smallest = replies.parse_node(reply(memory_node={"memory_node_id": "n"}))
    nulls = replies.parse_node(
        reply(memory_node=dict.fromkeys(NODE) | {"memory_node_id": "n", "media_desc": None})
    )
    odd = replies.parse_node(
        reply(memory_node={"memory_node_id": "n", "score": "0.8", "meta_data": [], "created_at": "x"})
    )

    assert smallest == LibraryNode("n", "")
    assert nulls == LibraryNode("n", "", extra={"media_desc": None})
    assert odd == LibraryNode("n", "", extra={"score": "0.8", "meta_data": [], "created_at": "x"})


def test_the_entries_of_an_event() -> None:
    started = {**ENTRY, "status": "PENDING", "result": []}
    event = replies.parse_event(reply(event_id="e-7", events=[started]))
    ended = replies.parse_event(reply(events=[ENTRY, {"status": "FAILED"}]), "e-7")

    assert event == MemoryEvent("e-7", (event.entries[0],), "r-01")
    assert not event.entries[0].has_ended
    assert event.changes == ()
    first, second = ended.entries
    assert first == MemoryEventEntry(
        resource_id="prj-1",
        resource_type="observation",
        status="SUCCEEDED",
        changes=(
            MemoryChange(
                event="UPDATE",
                content="靠窗",
                node_id="n-31",
                memory_type="observation",
                old_content="过道",
            ),
            MemoryChange(event="ADD", content="靠窗", name="座位", memory_type="user_profile"),
        ),
        event_type="ADD_ASYNC",
        memory_library_id="lib-1",
        user_id="u-9",
        created_at=1790000000,
        updated_at=1790000030,
    )
    assert ended.changes == first.changes
    assert (second.resource_id, second.has_failed, second.has_succeeded) == (None, True, False)
    assert pickle.loads(pickle.dumps(ended)) == ended  # noqa: S301


@pytest.mark.parametrize(
    ("status", "succeeded", "failed"),
    [
        ("PENDING", False, False),
        ("RUNNING", False, False),
        ("SUCCEEDED", True, False),
        ("SUCCESS", True, False),
        ("FAILED", False, True),
        ("UNRECORDED", False, True),
        ("PAUSED", False, False),
    ],
)
def test_the_status_of_an_entry(status: str, *, succeeded: bool, failed: bool) -> None:
    entry = MemoryEventEntry("p", "observation", status)

    assert (entry.has_succeeded, entry.has_failed) == (succeeded, failed)
    assert entry.has_ended is (succeeded or failed)


def test_a_skill() -> None:
    skill = {"skill_name": "订座", "skill_description": "订一个座位", "skill_tags": ["出行", "座位"]}
    node = {"memory_node_id": "n", "content": "先问日期", "memory_type": "skill", **skill}

    assert replies.parse_skill(reply(memory_node=node)) == MemorySkill(
        "n", "订座", "订一个座位", ("出行", "座位"), "先问日期", {"memory_type": "skill"}
    )
    with pytest.raises(BailianRequestError, match="'n-31' is not a skill, but 'observation'"):
        replies.parse_skill(reply(memory_node=NODE))


def test_schemas() -> None:
    listed = {
        "profile_schema_id": "s",
        "name": "旅客",
        "description": "",
        "plan_version": "pro",
        "extract_scene": "efficient",
    }
    attribute = {"attribute_id": "a", "name": "座位", "description": "窗", "immutable": False, "x": 1}
    schema = replies.parse_schema(reply(**{**listed, "attributes": [attribute]}), "s")

    assert replies.parse_created_schema(reply(profile_schema_id="s")) == "s"
    assert replies.parse_schema_page(reply(profile_schemas=[listed], total=1)) == (
        (ProfileSchema("s", "旅客", "", None, "pro", "efficient"),),
        1,
    )
    parsed_attribute = ProfileAttribute("座位", "窗", None, immutable=False, id="a", extra={"x": 1})
    assert schema == ProfileSchema("s", "旅客", "", (parsed_attribute,), "pro", "efficient")


def test_a_profile() -> None:
    items = [{"item_id": 5, "status": "valid", "value": "靠窗"}]
    attributes = [
        {"id": "a-1", "name": "座位", "value": "靠窗; 前排"},
        {"id": "a-2", "name": "餐食"},
        {"id": "a-3", "name": "酒店", "value_items": items},
        {"id": "a-4", "name": "车", "value_items": []},
    ]
    fields = {"schema_name": "旅客", "schema_description": "", "attributes": attributes}

    assert replies.parse_profile(reply(profile=fields)) == UserProfile(
        "旅客",
        "",
        (
            ProfileValue("a-1", "座位", "靠窗; 前排"),
            ProfileValue("a-2", "餐食"),
            ProfileValue("a-3", "酒店", None, (ProfileValueItem(5, "靠窗", "valid"),)),
            ProfileValue("a-4", "车", None, ()),
        ),
    )


@pytest.mark.parametrize(
    ("parse", "fields", "name"),
    [
        (replies.parse_add, {}, "memory_nodes"),
        (replies.parse_add, {"memory_nodes": ["n"]}, "memory_nodes"),
        (replies.parse_search, {"memory_nodes": None}, "memory_nodes"),
        (replies.parse_search, {"memory_nodes": [{}]}, "memory_node_id"),
        (replies.parse_node_page, {"total": 0}, "memory_nodes"),
        (replies.parse_node, {}, "memory_node"),
        (replies.parse_node, {"memory_node": {"memory_node_id": ""}}, "memory_node_id"),
        (replies.parse_skill, {"memory_node": {"skill_name": "a"}}, "memory_node_id"),
        (replies.parse_event, {"events": []}, "event_id"),
        (replies.parse_event, {"event_id": "e"}, "events"),
        (replies.parse_created_schema, {}, "profile_schema_id"),
        (replies.parse_schema_page, {}, "profile_schemas"),
        (replies.parse_schema_page, {"profile_schemas": [{}]}, "profile_schema_id"),
        (lambda r: replies.parse_schema(r, "s"), {}, "name"),
        (replies.parse_profile, {}, "profile"),
        (replies.parse_profile, {"profile": {}}, "attributes"),
    ],
)
def test_a_response_without_its_main_field_is_an_error(
    parse: Callable[[WorkspaceReply], object], fields: dict[str, Any], name: str
) -> None:
    with pytest.raises(BailianServerError, match=f"does not contain a valid `{name}`") as caught:
        parse(reply(**fields))
    assert caught.value.request_id == "r-01"
