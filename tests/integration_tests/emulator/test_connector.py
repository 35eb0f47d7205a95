"""The routes for session files that need only the API key, as any client sees them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from langchain_bailian_app.emulator import BailianEmulator, FileFaults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clock import Clock

CONTENT = "# 火星\n\n保修期是三年。\n".encode()
MD5 = base64.b64encode(bytes(16)).decode()
LEASE = {
    "category": "default",
    "categoryType": "SESSION_FILE",
    "fileName": "note.md",
    "sizeBytes": str(len(CONTENT)),
    "contentMd5": MD5,
}
ADD = {"category": "default", "categoryType": "SESSION_FILE", "parser": "AUTO_SELECT", "leaseId": "x"}


@pytest.fixture
def bailian(clock: Clock) -> Iterator[BailianEmulator]:
    with BailianEmulator(seed_apps=False, clock=clock) as emulator:
        yield emulator


def post(
    bailian: BailianEmulator,
    action: str,
    body: Any,
    *,
    key: str | None = None,
    workspace: str = "ws",
) -> httpx.Response:
    headers = {
        "Authorization": f"Bearer {bailian.api_key if key is None else key}",
        "X-DashScope-WorkSpace": workspace,
    }
    url = f"{bailian.base_url}/connector/dash/{action}"
    return httpx.post(url, json=body, headers=headers, trust_env=False)


def put(lease: dict[str, Any], **headers: str) -> httpx.Response:
    param = lease["param"]
    return httpx.request(
        param["method"],
        param["url"],
        headers=param["headers"] | headers,
        content=CONTENT,
        trust_env=False,
    )


def add_file(bailian: BailianEmulator) -> str:
    lease = post(bailian, "applyFileUploadLease", LEASE).json()["data"]
    assert put(lease).status_code == 200
    added = post(bailian, "addFile", ADD | {"leaseId": lease["leaseId"]}).json()
    return added["data"]["fileId"]


def test_a_file_is_uploaded_with_the_replies_of_the_documentation(bailian: BailianEmulator) -> None:
    lease = post(bailian, "applyFileUploadLease", LEASE).json()
    assert (lease["code"], lease["status"], lease["data"]["type"]) == (
        "Success",
        200,
        "OSS.PreSignedUrl",
    )
    assert lease["requestId"]
    assert set(lease["data"]["param"]["headers"]) == {"x-bailian-extra", "Content-Type"}
    assert put(lease["data"], **{"Content-Type": "text/markdown"}).status_code == 403
    assert put(lease["data"]).status_code == 200

    added = post(bailian, "addFile", ADD | {"leaseId": lease["data"]["leaseId"]}).json()
    assert (added["code"], added["status_code"], added["data"]["status"]) == ("Success", 200, "SUCCESS")
    file_id = added["data"]["fileId"]
    described = post(bailian, "describeFile", {"fileId": file_id}).json()
    assert described["data"] == {
        "fileId": file_id,
        "status": "PARSE_SUCCESS",
        "fileName": "note.md",
        "fileType": "md",
        "parser": "DOCMIND_DIGITAL",
        "sizeBytes": len(CONTENT),
        "uploadTime": bailian.files.added[file_id].created,
        "category": "cate_emulator",
    }


@pytest.mark.parametrize(
    ("action", "body", "message"),
    [
        ("applyFileUploadLease", LEASE | {"category": None}, "category must be"),
        ("applyFileUploadLease", LEASE | {"categoryType": "UNSTRUCTURED"}, "categoryType must be"),
        ("applyFileUploadLease", LEASE | {"fileName": "a.b"}, "4 to 128"),
        ("applyFileUploadLease", LEASE | {"fileName": "no\0te.md"}, "printable"),
        ("applyFileUploadLease", LEASE | {"sizeBytes": 5}, "must be a string"),
        ("applyFileUploadLease", LEASE | {"sizeBytes": "5 B"}, "must be a string"),
        ("applyFileUploadLease", LEASE | {"sizeBytes": "0"}, "between 1 and"),
        ("applyFileUploadLease", LEASE | {"contentMd5": "0" * 32}, "MD5 in Base64"),
        ("applyFileUploadLease", LEASE | {"contentMd5": None}, "MD5 in Base64"),
        ("addFile", ADD | {"categoryType": None}, "categoryType must be"),
        ("addFile", ADD | {"parser": None}, "parser is required"),
        ("addFile", ADD, "lease x does not exist"),
        ("describeFile", ["no object"], "json format"),
    ],
)
def test_a_rejected_request_has_http_status_200_and_the_status_in_the_body(
    bailian: BailianEmulator, action: str, body: Any, message: str
) -> None:
    response = post(bailian, action, body)
    reply = response.json()

    assert response.status_code == 200
    assert reply["status_code" if action == "addFile" else "status"] == 400
    assert reply["code"] in {"InvalidParameter", "BadRequest.IllegalInput"}
    assert message in reply["message"]
    assert reply["requestId"]
    assert "data" not in reply


def test_a_file_of_another_workspace_does_not_exist(bailian: BailianEmulator) -> None:
    file_id = add_file(bailian)
    reply = post(bailian, "describeFile", {"fileId": file_id}, workspace="other").json()

    assert (reply["code"], reply["status"]) == ("NotFound", 404)


def test_a_wrong_key_and_a_throttled_request_have_their_http_status(bailian: BailianEmulator) -> None:
    wrong_key = post(bailian, "describeFile", {"fileId": "f"}, key="wrong")
    bailian.files.leases_per_second = 1
    first, second = (post(bailian, "applyFileUploadLease", LEASE) for _ in range(2))
    bailian.files.faults = FileFaults.always("describe_error")
    broken = post(bailian, "describeFile", {"fileId": "f"})

    assert (wrong_key.status_code, wrong_key.json()["code"]) == (401, "InvalidApiKey")
    assert (first.status_code, second.status_code) == (200, 429)
    assert second.json()["code"].startswith("Throttling")
    assert "x-acs-retry-after" not in second.headers
    assert (broken.status_code, broken.json()["code"]) == (500, "InternalError")


def test_dropped_replies_are_injected_as_over_the_openapi(bailian: BailianEmulator) -> None:
    file_id = add_file(bailian)
    bailian.files.faults = FileFaults.always("describe_cut")

    with pytest.raises(httpx.RemoteProtocolError):
        post(bailian, "describeFile", {"fileId": file_id})


def test_a_file_goes_through_the_statuses_of_its_list(bailian: BailianEmulator, clock: Clock) -> None:
    bailian.files.parse_seconds = 70.0
    file_id = add_file(bailian)
    statuses: dict[str, list[str]] = {"short": [], "long": []}
    for _ in range(8):
        for bailian.files.connector.states, seen in statuses.items():
            reply = post(bailian, "describeFile", {"fileId": file_id}).json()
            seen.append(reply["data"]["status"])
        clock.now += 10.0

    assert statuses["short"] == ["INIT"] * 2 + ["PARSING"] * 5 + ["PARSE_SUCCESS"]
    assert statuses["long"][3:] == [
        "PARSE_SUCCESS",
        "SAFE_CHECKING",
        "INDEX_BUILDING",
        "INDEX_BUILD_SUCCESS",
        "FILE_IS_READY",
    ]


def test_an_expired_file_is_gone_in_the_short_list_of_statuses(
    bailian: BailianEmulator, clock: Clock
) -> None:
    file_id = add_file(bailian)
    clock.now += bailian.files.lifetime
    assert post(bailian, "describeFile", {"fileId": file_id}).json()["code"] == "NotFound"
    bailian.files.connector.states = "long"
    assert post(bailian, "describeFile", {"fileId": file_id}).json()["data"]["status"] == "FILE_EXPIRED"


def test_requests_are_recorded_without_secrets(bailian: BailianEmulator) -> None:
    add_file(bailian)
    recorded = str([(r.path, r.query, r.headers, r.body) for r in bailian.requests])
    (lease,) = bailian.files.leases.values()

    assert [record.body.get("fileName") for record in bailian.requests] == ["note.md", None, None]
    for secret in (bailian.api_key, lease.token, lease.extra):
        assert secret not in recorded
