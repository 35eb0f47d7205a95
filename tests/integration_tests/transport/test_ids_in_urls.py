"""Tests that an id which was never validated does not become part of a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from alibabacloud_bailian20231229.client import Client
from alibabacloud_tea_openapi.utils_models import Config
from langchain_core.tools import ToolException

from langchain_bailian_app import BailianAppChatModel, BailianAppTool, BailianRetriever
from langchain_bailian_app.emulator import BailianEmulator
from langchain_bailian_app.errors import BailianFileError
from langchain_bailian_app.files import BailianFiles
from langchain_bailian_app.llama_index import BailianAppLLM, BailianAppRetriever
from langchain_bailian_app.memory import BailianMemory
from langchain_bailian_app.sessions import InMemorySessionStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Change = Callable[[Any, str, Any], Any]

EVIL_IDS = [
    "../evil",
    "..",
    ".",
    "",
    "a/b",
    "a?b",
    "a#b",
    "a%2fb",
    "a b",
    "a\r\nb",
    "知识库",
    "x" * 129,
]
QUESTION = "什么是保税？"
DATA_BLOCK = {"type": "file", "base64": "aGVsbG8=", "mime_type": "text/plain", "filename": "a.txt"}


@pytest.fixture(scope="module")
def emulator() -> Iterator[BailianEmulator]:
    with BailianEmulator() as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def nothing_is_sent(emulator: BailianEmulator) -> Iterator[None]:
    emulator.reset()
    yield
    assert [(request.method, request.path) for request in emulator.requests] == []


def connect(emulator: BailianEmulator) -> dict[str, Any]:
    return {"base_url": emulator.base_url, "api_key": emulator.api_key}


def connect_openapi(emulator: BailianEmulator) -> dict[str, Any]:
    return {
        "workspace_id": "ws",
        "endpoint": emulator.openapi_endpoint,
        "access_key_id": emulator.access_key_id,
        "access_key_secret": emulator.access_key_secret,
    }


def assign(target: Any, name: str, value: Any) -> Any:
    setattr(target, name, value)
    return target


def copy_with(target: Any, name: str, value: Any) -> Any:
    return target.model_copy(update={name: value})


def construct(target: Any, name: str, value: Any) -> Any:
    settings = {field: getattr(target, field) for field in type(target).model_fields}
    return type(target).model_construct(**settings | {name: value})


changes = pytest.mark.parametrize("change", [assign, copy_with, construct])


async def expect_refusal(target: Any, value: Any = QUESTION, *, match: str) -> None:
    """Call an object in all ways; each must raise an error."""
    with pytest.raises(ValueError, match=match):
        target.invoke(value)
    with pytest.raises(ValueError, match=match):
        await target.ainvoke(value)
    with pytest.raises(ValueError, match=match):
        list(target.stream(value))
    with pytest.raises(ValueError, match=match):
        async for _ in target.astream(value):
            pass


@changes
@pytest.mark.parametrize("app_id", [*EVIL_IDS, None, 5])
async def test_the_id_of_a_model_is_validated(
    emulator: BailianEmulator, change: Change, app_id: object
) -> None:
    model = change(BailianAppChatModel(app_id="app", **connect(emulator)), "app_id", app_id)

    await expect_refusal(model, match=r"invalid `app_id`.*expected 1 to 128 letters")


@changes
@pytest.mark.parametrize(
    "settings",
    [{"history": "session"}, {"history": "thread", "session_key": "k"}, {"session_id": "s"}],
)
async def test_the_id_of_a_model_with_a_session_is_validated(
    emulator: BailianEmulator, change: Change, settings: dict[str, Any]
) -> None:
    model = BailianAppChatModel(
        app_id="app", session_store=InMemorySessionStore(), **connect(emulator), **settings
    )

    await expect_refusal(change(model, "app_id", "../evil"), match="invalid `app_id`")


async def test_the_id_of_a_model_is_validated_before_files_are_uploaded(
    emulator: BailianEmulator,
) -> None:
    files = BailianFiles(**connect_openapi(emulator))
    model = BailianAppChatModel(app_id="app", files=files, **connect(emulator))
    model.app_id = "../evil"

    await expect_refusal(model, [("human", [DATA_BLOCK])], match="invalid `app_id`")


@changes
@pytest.mark.parametrize(
    ("name", "fields"), [("app_id", {"app_id": "app"}), ("pipeline_id", {"pipeline_id": "kb"})]
)
@pytest.mark.parametrize("value", EVIL_IDS)
async def test_the_ids_of_a_retriever_are_validated(
    emulator: BailianEmulator, change: Change, name: str, fields: dict[str, str], value: str
) -> None:
    retriever = change(BailianRetriever(**fields, **connect(emulator)), name, value)

    with pytest.raises(ValueError, match=f"invalid `{name}`|set exactly one|missing"):
        retriever.invoke(QUESTION)
    with pytest.raises(ValueError, match=f"invalid `{name}`|set exactly one|missing"):
        await retriever.ainvoke(QUESTION)


@changes
@pytest.mark.parametrize("gateway", ["shared", "workspace"])
@pytest.mark.parametrize("workspace", ["evil.example/x", "a\r\nX-Header: b", "a b", "evil.example#"])
async def test_the_workspace_is_validated(
    emulator: BailianEmulator, change: Change, gateway: str, workspace: str
) -> None:
    connection = connect(emulator) | ({} if gateway == "shared" else {"base_url": None})
    model = BailianAppChatModel(app_id="app", gateway=gateway, **connection)
    retriever = BailianRetriever(app_id="app", gateway=gateway, **connection)

    await expect_refusal(change(model, "workspace", workspace), match="invalid `workspace`")
    await expect_refusal(change(retriever, "workspace", workspace), match="invalid `workspace`")


@changes
async def test_the_region_is_validated(change: Change) -> None:
    model = BailianAppChatModel(app_id="app", api_key="k", gateway="workspace", workspace="ws")

    await expect_refusal(
        change(model, "region", "evil.example/x"), match="invalid region"
    )  # by dashscope


def test_the_workspace_in_the_environment_is_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_WORKSPACE", "evil.example/x")
    model = BailianAppChatModel(app_id="app", api_key="k", gateway="workspace")

    with pytest.raises(ValueError, match=r"invalid `workspace` 'evil\.example/x'"):
        model.invoke(QUESTION)


@changes
async def test_the_id_of_a_tool_is_validated(emulator: BailianEmulator, change: Change) -> None:
    model = change(BailianAppChatModel(app_id="app", **connect(emulator)), "app_id", "../evil")
    tool = BailianAppTool(model=model, name="t", description="d", handle_tool_error=False)

    with pytest.raises(ToolException, match="invalid `app_id`"):
        tool.invoke({"query": QUESTION})
    with pytest.raises(ToolException, match="invalid `app_id`"):
        await tool.ainvoke({"query": QUESTION})


@changes
async def test_the_ids_in_llama_index_are_validated(emulator: BailianEmulator, change: Change) -> None:
    model = change(BailianAppChatModel(app_id="app", **connect(emulator)), "app_id", "../evil")
    inner = change(BailianRetriever(pipeline_id="kb", **connect(emulator)), "pipeline_id", "../evil")
    llm, retriever = BailianAppLLM(model=model), BailianAppRetriever(retriever=inner)

    with pytest.raises(ValueError, match="invalid `app_id`"):
        llm.complete(QUESTION)
    with pytest.raises(ValueError, match="invalid `app_id`"):
        await llm.acomplete(QUESTION)
    with pytest.raises(ValueError, match="invalid `app_id`"):
        list(llm.stream_complete(QUESTION))
    with pytest.raises(ValueError, match="invalid `pipeline_id`"):
        retriever.retrieve(QUESTION)
    with pytest.raises(ValueError, match="invalid `pipeline_id`"):
        await retriever.aretrieve(QUESTION)


@pytest.mark.parametrize("evil_id", EVIL_IDS)
async def test_the_ids_of_memories_are_validated(emulator: BailianEmulator, evil_id: str) -> None:
    memory = BailianMemory(**connect_openapi(emulator))
    calls: list[tuple[str, Callable[[], object]]] = [
        ("memory_id", lambda: memory.get(evil_id)),
        ("memory_id", lambda: memory.update(evil_id, "d")),
        ("memory_id", lambda: memory.delete(evil_id)),
        ("memory_id", lambda: memory.nodes(evil_id)),
        ("memory_id", lambda: memory.add_node(evil_id, "c")),
        ("node_id", lambda: memory.get_node("m", evil_id)),
        ("node_id", lambda: memory.update_node("m", evil_id, "c")),
        ("node_id", lambda: memory.delete_node("m", evil_id)),
        ("workspace_id", lambda: assign(memory, "workspace_id", evil_id).memories()),
    ]
    for name, call in calls:
        with pytest.raises(ValueError, match=f"invalid `{name}`"):
            call()
    with pytest.raises(ValueError, match="invalid `workspace_id`"):
        await memory.aget("m")


async def test_the_region_of_files_and_memories_is_validated(emulator: BailianEmulator) -> None:
    fields = connect_openapi(emulator) | {"endpoint": None}
    memory = assign(BailianMemory(**fields), "region", "evil.example/x")
    files = assign(BailianFiles(**fields), "region", "evil.example/x")

    with pytest.raises(ValueError, match=r"invalid `region` 'evil\.example/x'"):
        memory.memories()
    with pytest.raises(ValueError, match=r"invalid `region` 'evil\.example/x'"):
        await files.astatus("file_session_1")


@pytest.mark.parametrize("evil_id", EVIL_IDS)
async def test_the_ids_of_files_are_validated(emulator: BailianEmulator, evil_id: str) -> None:
    files = BailianFiles(**connect_openapi(emulator))

    with pytest.raises(ValueError, match="invalid `file_id`"):
        files.status(evil_id)
    with pytest.raises(ValueError, match="invalid `file_id`"):
        await files.astatus(evil_id)
    with pytest.raises(ValueError, match="invalid `file_id`"):
        files.wait_until_ready(evil_id)
    with pytest.raises(ValueError, match="invalid `file_id`"):
        await files.await_until_ready([evil_id])


class ClientWithEvilIds(Client):
    """Official client whose service returns an invalid file id."""

    def add_file_with_options(self, *args: Any) -> Any:
        response = super().add_file_with_options(*args)
        response.body.data.file_id = "../evil"
        return response


def test_an_invalid_id_from_the_service_is_an_error_of_the_service(tmp_path: Path) -> None:
    note = tmp_path / "note.md"
    note.write_text("本店周一休息。", "utf-8")
    with BailianEmulator(seed_apps=False) as emulator:
        config = Config(
            access_key_id=emulator.access_key_id,
            access_key_secret=emulator.access_key_secret,
            endpoint=emulator.openapi_endpoint.removeprefix("http://"),
            protocol="http",
        )
        files = BailianFiles(workspace_id="ws", client=ClientWithEvilIds(config))
        with pytest.raises(BailianFileError, match=r"AddFile returned an invalid file id: '\.\./evil'"):
            files.upload(note)
        assert not any("evil" in request.path for request in emulator.requests)


def test_an_invalid_id_in_a_record_of_uploads_is_skipped(tmp_path: Path) -> None:
    note, record = tmp_path / "note.md", tmp_path / "record.jsonl"
    note.write_text("本店周一休息。", "utf-8")
    with BailianEmulator(seed_apps=False) as emulator:
        settings = connect_openapi(emulator) | {"record": record}
        first = BailianFiles(**settings).upload(note)[0]
        record.write_text(record.read_text("utf-8").replace(first.id, "../evil"), "utf-8")
        second = BailianFiles(**settings).upload(note)[0]

        assert second.id not in {first.id, "../evil"}
        assert not any("evil" in request.path for request in emulator.requests)
