"""Official client for Bailian's OpenAPI: it works with the emulator without changes.

The last section tests behavior that this package relies on; a new version that changes it fails here
first.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from alibabacloud_bailian20231229 import models
from alibabacloud_bailian20231229.client import Client
from alibabacloud_tea_openapi.exceptions import ClientException, ServerException, ThrottlingException
from alibabacloud_tea_openapi.utils_models import Config
from darabonba.exceptions import RetryError
from requests import exceptions as rq

from langchain_bailian_app.emulator import App, BailianEmulator, FileFaults

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = "# 火星\n\n火星公司的保修期是三年。\n".encode()


@pytest.fixture(scope="module")
def emulator() -> Iterator[BailianEmulator]:
    with BailianEmulator(seed_apps=False) as emulator:
        yield emulator


@pytest.fixture
def bailian(emulator: BailianEmulator) -> BailianEmulator:
    emulator.reset()
    emulator.files.faults = None
    return emulator.start()


def make_client(bailian: BailianEmulator, **settings: Any) -> Client:
    """Create a client as in the user guide, except for the host."""
    config = Config(
        access_key_id=bailian.access_key_id, access_key_secret=bailian.access_key_secret, **settings
    )
    config.endpoint = bailian.openapi_endpoint.removeprefix("http://")
    config.protocol = "http"
    return Client(config)


def lease_request(name: str = "note.md") -> models.ApplyFileUploadLeaseRequest:
    return models.ApplyFileUploadLeaseRequest(
        file_name=name,
        md_5=hashlib.md5(CONTENT).hexdigest(),
        size_in_bytes=str(len(CONTENT)),
        category_type="SESSION_FILE",
    )


def upload_file(lease: Any, **extra_headers: str) -> httpx.Response:
    param = lease.body.data.param
    return httpx.request(
        param.method, param.url, headers=param.headers | extra_headers, content=CONTENT, trust_env=False
    )


def add_request(lease: Any) -> models.AddFileRequest:
    return models.AddFileRequest(
        lease_id=lease.body.data.file_upload_lease_id,
        parser="AUTO_SELECT",
        category_id="default",
        category_type="SESSION_FILE",
    )


def test_the_official_client_uploads_a_file_unchanged(bailian: BailianEmulator) -> None:
    client = make_client(bailian)
    lease = client.apply_file_upload_lease("default", "ws", lease_request())
    assert upload_file(lease).status_code == 200
    add_response = client.add_file("ws", add_request(lease))
    describe_response = client.describe_file(
        "ws", add_response.body.data.file_id, models.DescribeFileRequest()
    )

    assert lease.body.success is True
    assert lease.body.data.type == "HTTP"
    assert add_response.body.success == "true"  # only this action returns text instead of a boolean
    assert describe_response.body.data.status == "FILE_IS_READY"
    assert describe_response.body.data.file_name == "note.md"
    assert describe_response.body.data.size_in_bytes == len(CONTENT)
    assert [
        (record.method, record.path.partition("/file_session")[0]) for record in bailian.requests
    ] == [
        ("POST", "/ws/datacenter/category/default"),
        ("PUT", "/storage/[removed]"),
        ("PUT", "/ws/datacenter/file"),
        ("GET", "/ws/datacenter/file"),
    ]


async def test_the_asynchronous_client_uploads_a_file_too(bailian: BailianEmulator) -> None:
    client = make_client(bailian)
    lease = await client.apply_file_upload_lease_async("default", "ws", lease_request())
    assert (await asyncio.to_thread(upload_file, lease)).status_code == 200
    add_response = await client.add_file_async("ws", add_request(lease))
    describe_response = await client.describe_file_async(
        "ws", add_response.body.data.file_id, models.DescribeFileRequest()
    )

    assert describe_response.body.data.status == "FILE_IS_READY"


def test_the_storage_accepts_only_the_headers_of_the_lease(bailian: BailianEmulator) -> None:
    client = make_client(bailian)
    lease = client.apply_file_upload_lease("default", "ws", lease_request())

    assert upload_file(lease, **{"X-bailian-extra": "other"}).status_code == 403
    assert upload_file(lease, **{"Content-Type": "text/markdown"}).status_code == 403
    assert upload_file(lease).status_code == 200


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            models.ApplyFileUploadLeaseRequest(file_name="a.b", md_5="0" * 32, size_in_bytes="1"),
            "CategoryType",
        ),
        (lease_request("a.b"), "4 to 128"),
        (lease_request("x" * 129), "4 to 128"),
    ],
)
def test_invalid_lease_requests_are_rejected(
    bailian: BailianEmulator, request_: models.ApplyFileUploadLeaseRequest, message: str
) -> None:
    with pytest.raises(ClientException, match=message):
        make_client(bailian).apply_file_upload_lease("default", "ws", request_)


def test_memories_and_their_nodes_over_the_official_client(bailian: BailianEmulator) -> None:
    client = make_client(bailian)
    memory_id = client.create_memory(
        "ws", models.CreateMemoryRequest(description="小明")
    ).body.memory_id
    node = models.CreateMemoryNodeRequest(content="用户喜欢吃面食")
    node_id = client.create_memory_node("ws", memory_id, node).body.memory_node_id
    for n in range(11):
        client.create_memory("ws", models.CreateMemoryRequest(description=f"m{n}"))

    first_page = client.list_memories("ws", models.ListMemoriesRequest()).body
    second_page = client.list_memories(
        "ws", models.ListMemoriesRequest(next_token=first_page.next_token)
    ).body
    assert (
        len(first_page.memories),
        len(second_page.memories),
        second_page.next_token,
        first_page.total_count,
    ) == (
        10,
        2,
        None,
        12,
    )
    assert client.get_memory("ws", memory_id, models.GetMemoryRequest()).body.description == "小明"

    update = models.UpdateMemoryNodeRequest(content="用户喜欢吃米饭")
    client.update_memory_node("ws", memory_id, node_id, update)
    client.update_memory("ws", memory_id, models.UpdateMemoryRequest(description="小明2"))
    updated_node = client.get_memory_node("ws", memory_id, node_id, models.GetMemoryNodeRequest()).body
    assert updated_node.content == "用户喜欢吃米饭"
    turns = []
    app_id = bailian.add_app(
        App("m", long_term_memory=True, answer=lambda turn: turns.append(turn) or "好")
    )
    httpx.post(
        f"{bailian.base_url}/apps/{app_id}/completion",
        json={"input": {"prompt": "?", "memory_id": memory_id}, "parameters": {}},
        headers={"authorization": f"Bearer {bailian.api_key}"},
        trust_env=False,
    )
    assert turns[0].memories[0].endswith("] 用户喜欢吃米饭")

    client.delete_memory_node("ws", memory_id, node_id, models.DeleteMemoryNodeRequest())
    nodes = client.list_memory_nodes("ws", memory_id, models.ListMemoryNodesRequest())
    assert not nodes.body.memory_nodes
    client.delete_memory("ws", memory_id, models.DeleteMemoryRequest())
    with pytest.raises(ClientException, match="does not exist"):
        client.get_memory("ws", memory_id, models.GetMemoryRequest())


# -- behavior that this package relies on ------------------------------------------------------------


def describe(client: Client) -> Any:
    return client.describe_file("ws", "file_session_x", models.DescribeFileRequest())


def test_errors_carry_code_status_body_and_retry_after(bailian: BailianEmulator) -> None:
    with pytest.raises(ClientException) as caught:
        describe(make_client(bailian))
    assert caught.value.status_code == 404
    assert caught.value.data["Code"] == "NotFound"
    assert caught.value.data["RequestId"]

    bailian.files.faults = FileFaults({"describe_error": 1.0, "lease_throttled": 1.0})
    with pytest.raises(ServerException) as broken:
        describe(make_client(bailian))
    assert broken.value.status_code == 500
    with pytest.raises(ThrottlingException) as throttled:
        make_client(bailian).apply_file_upload_lease("default", "ws", lease_request())
    assert throttled.value.retry_after == 50  # milliseconds


def test_the_client_sends_nothing_twice(bailian: BailianEmulator) -> None:
    bailian.files.faults = FileFaults({"describe_cut": 1.0})
    with pytest.raises(Exception, match="Connection aborted"):
        describe(make_client(bailian))
    assert len(bailian.requests) == 1


def test_network_errors_are_in_the_context_of_the_inner_exception(
    bailian: BailianEmulator,
) -> None:
    bailian.files.faults = FileFaults({"describe_cut": 1.0})
    with pytest.raises(Exception) as cut:  # noqa: PT011
        describe(make_client(bailian))
    assert type(cut.value.inner_exception) is RetryError
    assert isinstance(cut.value.inner_exception.__context__, rq.ConnectionError)

    client = make_client(bailian)
    bailian.stop()
    with pytest.raises(Exception) as refused:  # noqa: PT011
        describe(client)
    reason = refused.value.inner_exception.__context__.args[0].reason
    assert type(reason).__name__ == "NewConnectionError"


SCRIPT = """
import sys, langchain_bailian_app, langchain_bailian_app.files, langchain_bailian_app.memory
langchain_bailian_app.files.BailianFiles()
memory = langchain_bailian_app.memory.BailianMemory(workspace_id="ws")
print([m for m in sys.modules if m.startswith(("alibabacloud", "darabonba", "Tea", "tqdm"))])
try:
    memory.memories()
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_the_client_is_imported_at_the_first_request_and_a_missing_access_key_is_named() -> None:
    environment = {**os.environ, "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"}
    completed = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=environment
    )
    imported, error = completed.stdout.splitlines()

    assert imported == "[]"
    assert error.startswith("BailianAuthenticationError")
    assert "ALIBABA_CLOUD_ACCESS_KEY_ID" in error
