"""Requests that no client of the service sends: the emulator answers them with a client error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from langchain_bailian_app.emulator import BailianEmulator, KnowledgeBase

if TYPE_CHECKING:
    from collections.abc import Iterator

NESTED = "[" * 100_000 + "]" * 100_000
MD5 = "0" * 32
PIPELINE_ID = "books"


@pytest.fixture(scope="module")
def bailian() -> Iterator[BailianEmulator]:
    with BailianEmulator() as emulator:
        emulator.add_knowledge_base(KnowledgeBase("书库", pipeline_id=PIPELINE_ID))
        yield emulator


def send(
    bailian: BailianEmulator, path: str, body: bytes | str, *, host: str | None = None
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {bailian.api_key}", "Content-Type": "application/json"}
    if host:
        headers["Host"] = host
    return httpx.post(f"{bailian.base_url}{path}", headers=headers, content=body, trust_env=False)


def complete(bailian: BailianEmulator, host: str | None = None) -> httpx.Response:
    body = json.dumps({"input": {"prompt": "好"}})
    return send(bailian, f"/apps/{bailian.app_id}/completion", body, host=host)


@pytest.mark.parametrize("host", ["attacker.test", "127.0.0.1.attacker.test:80", "localhost.test", "-"])
def test_a_host_that_is_not_allowed_is_refused(bailian: BailianEmulator, host: str) -> None:
    count_before = len(bailian.requests)

    response = complete(bailian, host)

    assert response.status_code == 400
    assert len(bailian.requests) == count_before


def test_the_loopback_address_and_its_name_are_allowed(bailian: BailianEmulator) -> None:
    port = urlsplit(bailian.base_url).port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "localhost"):
        assert complete(bailian, host).status_code == 200


def test_hosts_can_be_allowed() -> None:
    with BailianEmulator(allowed_hosts=["emulator.test"]) as bailian:
        assert complete(bailian, "emulator.test:80").status_code == 200
        assert complete(bailian).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        NESTED,
        f'{{"input": {NESTED}}}',
        f'{{"input": {{"prompt": "?", "biz_params": {NESTED}}}}}',
        json.dumps({"input": {"prompt": "?"}, "parameters": {"rag_options": NESTED}}),
        '{"input": {"prompt": "?"}, "parameters": {"seed": ' + "9" * 5_000 + "}}",
        b'{"input": {"prompt": "\xff"}}',
        b"\x00",
    ],
    ids=["body", "input", "value", "json-text", "long-number", "not-utf-8", "nul"],
)
@pytest.mark.parametrize(
    "path",
    [
        "/apps/{app_id}/completion",
        "/connector/dash/applyFileUploadLease",
        "/indices/pipeline/{pipeline_id}/retrieve",
    ],
)
def test_a_body_that_cannot_be_processed_is_a_client_error(
    bailian: BailianEmulator, path: str, body: bytes | str
) -> None:
    response = send(bailian, path.format(app_id=bailian.app_id, pipeline_id=PIPELINE_ID), body)

    # Most failures of the routes for files have status 200.
    assert response.status_code < 500
    assert response.json()["code"] not in {"Success", "InternalError"}


@pytest.mark.parametrize("name", ["a\x00b.md", "../../a\n.md", "\x00.md"])
def test_a_file_name_with_control_characters_is_a_client_error(
    bailian: BailianEmulator, name: str
) -> None:
    lease = {
        "category": "default",
        "categoryType": "SESSION_FILE",
        "fileName": name,
        "sizeBytes": "3",
        "contentMd5": MD5,
    }
    by_key = send(bailian, "/connector/dash/applyFileUploadLease", json.dumps(lease))

    assert (by_key.status_code, by_key.json()["status"]) == (200, 400)
    assert by_key.json()["code"] == "InvalidParameter"


@pytest.mark.parametrize(
    ("size", "name"),
    [("9" * 5_000, "note.md"), ("-1", "note.md"), ("²", "note.md"), ("3", "a\x00bc.md")],
    ids=["long-number", "negative", "superscript", "nul"],
)
def test_an_odd_parameter_of_the_openapi_is_a_client_error(
    bailian: BailianEmulator, size: str, name: str
) -> None:
    response = httpx.post(
        f"{bailian.openapi_endpoint}/ws/datacenter/category/default",
        data={"FileName": name, "SizeInBytes": size, "Md5": MD5, "CategoryType": "SESSION_FILE"},
        headers={"Authorization": f"ACS3-HMAC-SHA256 Credential={bailian.access_key_id},Signature=0"},
        trust_env=False,
    )

    assert response.status_code == 400
    assert response.json()["Code"] == "InvalidParameter"
