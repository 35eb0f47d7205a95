"""Lists of knowledge services and knowledge bases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app import errors
from langchain_bailian_app.emulator import KnowledgeBase, KnowledgeService
from langchain_bailian_app.knowledge import (
    alist_knowledge_bases,
    alist_knowledge_services,
    list_knowledge_bases,
    list_knowledge_services,
)

if TYPE_CHECKING:
    from langchain_bailian_app.emulator import BailianEmulator


def connection(pool: BailianEmulator) -> dict[str, Any]:
    return {"base_url": pool.base_url, "api_key": pool.api_key, "max_retries": 0}


async def test_services_are_typed_and_filtered(pool: BailianEmulator) -> None:
    pool.add_knowledge_service(KnowledgeService("草稿", published=False))
    (search,) = list_knowledge_services("search", status="deployed", **connection(pool))
    (chat,) = [entry async for entry in alist_knowledge_services("chat", **connection(pool))]
    (draft,) = list_knowledge_services("search", status="draft", **connection(pool))
    bound = list_knowledge_services("search", pipeline_id="prices", **connection(pool))

    assert (search.agent_id, search.name, search.scene) == ("aid-search", "检索", "search")
    assert (search.status, search.version) == ("deployed", "1")
    assert [(base.id, base.name) for base in search.knowledge_bases] == [
        ("pool", "泳池"),
        ("prices", "价目"),
    ]
    assert search.model_extra is not None
    assert "create_time" in search.model_extra
    assert (chat.agent_id, draft.name) == ("aid-chat", "草稿")
    assert [entry.agent_id for entry in bound] == ["aid-search"]
    assert [e.name for e in list_knowledge_services("search", name="检", **connection(pool))] == [
        "检索"
    ]


async def test_pages_are_requested_as_they_are_needed(pool: BailianEmulator) -> None:
    for number in range(201):
        pool.add_knowledge_service(KnowledgeService(f"服务{number}"))
    entries = list_knowledge_services("search", **connection(pool))
    assert not pool.requests

    next(entries)
    assert len(pool.requests) == 1
    assert len(list(entries)) == 201
    assert [request.body["page_number"] for request in pool.requests] == [1, 2, 3]
    twins = [entry async for entry in alist_knowledge_services("search", **connection(pool))]
    assert len(twins) == 202


async def test_knowledge_bases_are_typed(pool: BailianEmulator) -> None:
    pool.knowledge_bases[:] = [KnowledgeBase(f"库{number}") for number in range(120)]
    try:
        entries = list(list_knowledge_bases(**connection(pool)))
        twins = [entry async for entry in alist_knowledge_bases(name="泳", **connection(pool))]
    finally:
        pool.knowledge_bases.clear()

    assert len(entries) == 122
    assert {("pool", "泳池", "")} <= {(entry.id, entry.name, entry.description) for entry in entries}
    assert [entry.id for entry in twins] == ["pool"]
    assert twins[0].model_extra is not None
    assert twins[0].model_extra["structureType"] is None


@pytest.mark.parametrize(
    ("arguments", "fields", "error", "problem"),
    [
        (["other"], {}, ValueError, "invalid `scene`: expected 'search' or 'chat'"),
        (["search"], {"status": "x"}, ValueError, "invalid `status`"),
        (["search"], {"workspace": "a/b"}, ValueError, "invalid `workspace`"),
        (["search"], {"app_id": "x"}, TypeError, "unknown argument `app_id`"),
    ],
)
def test_invalid_arguments_are_rejected_before_the_first_entry(
    arguments: list[Any], fields: dict[str, Any], error: type[Exception], problem: str
) -> None:
    for function in (list_knowledge_services, alist_knowledge_services):
        with pytest.raises(error, match=problem):
            function(*arguments, **fields)


def test_failures_are_errors(pool: BailianEmulator) -> None:
    with pytest.raises(errors.BailianAuthenticationError):
        next(list_knowledge_services("search", **connection(pool) | {"api_key": "wrong"}))
