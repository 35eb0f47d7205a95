"""Live checks of session files that are uploaded with the API key."""

from __future__ import annotations

import base64
import hashlib
import itertools
import time
from typing import Any

import httpx

from langchain_bailian_app import RagOptions
from langchain_bailian_app._settings.base_url import is_loopback
from langchain_bailian_app.errors import BailianError
from langchain_bailian_app.options._session_files import parse_created_at
from tests.live.harness import CheckRegistry, CheckSkipped, LiveHarness, Outcome, RawResponse

CHECKS = CheckRegistry()
_CONTENT = "# 暗号\n\n暗号是蓝鲸。\n".encode()
_QUESTION = "暗号是什么？"
_MD5 = hashlib.md5(_CONTENT, usedforsecurity=False)
_BASE64_MD5 = base64.b64encode(_MD5.digest()).decode()
_SESSION_FILE = {"category": "default", "categoryType": "SESSION_FILE"}
_READY = {"PARSE_SUCCESS", "FILE_IS_READY"}
_MAX_STATUS_QUERIES, _QUERIES_AFTER_READY = 60, 5


@CHECKS.register(
    "Which statuses does a session file have that was uploaded with the API key?",
    assumption="it is ready with PARSE_SUCCESS or FILE_IS_READY, whichever comes first",
)
def file_states(harness: LiveHarness) -> Outcome:
    file_id = _upload(harness)
    statuses: list[str] = []
    for _ in range(_MAX_STATUS_QUERIES):
        statuses.append(_describe(harness, file_id)["status"])
        # PARSE_SUCCESS may be followed by others.
        last = statuses[-_QUERIES_AFTER_READY:]
        if len(last) == _QUERIES_AFTER_READY and len(set(last)) == 1 and last[0] in _READY:
            break
        harness.pause()
    changes = [status for status, _ in itertools.groupby(statuses)]
    return Outcome(", ".join(changes), matches_assumption=not _READY & set(changes[:-1]))


@CHECKS.register(
    "In which form does a lease request contain the MD5?",
    assumption="Base64; if that is refused, hexadecimal",
)
def file_md5(harness: LiveHarness) -> Outcome:
    forms = {"Base64": _BASE64_MD5, "hexadecimal": _MD5.hexdigest()}
    accepted = {
        form: not _find_refusal(_request_lease(harness, value)) for form, value in forms.items()
    }
    observation = ", ".join(
        f"{form} is {'accepted' if is_accepted else 'refused'}"
        for form, is_accepted in accepted.items()
    )
    return Outcome(observation, matches_assumption=any(accepted.values()))


@CHECKS.register(
    "Which prefix do the ids of these files have?", assumption="`file_session_` or `file_`"
)
def file_prefix(harness: LiveHarness) -> Outcome:
    file_id = _upload(harness)
    prefix = next((p for p in ("file_session_", "file_") if file_id.startswith(p)), None)
    return Outcome(f"`{prefix}`" if prefix else "another", matches_assumption=prefix is not None)


@CHECKS.register(
    "Does an application read files that were uploaded with the API key?",
    assumption="yes: their ids are accepted in `session_file_ids`",
)
def file_join(harness: LiveHarness) -> Outcome:
    file_id = _upload(harness)
    for _ in range(_MAX_STATUS_QUERIES):
        if _describe(harness, file_id)["status"] in _READY:
            break
        harness.pause()
    options = RagOptions(session_file_ids=[file_id])
    try:
        answer = harness.make_model().invoke(_QUESTION, rag_options=options)
    except BailianError as error:
        return Outcome(f"refused: {error.status_code} {error.code}", matches_assumption=False)
    is_read = "蓝鲸" in answer.text
    return Outcome("it reads them" if is_read else "accepted, but not read", matches_assumption=is_read)


@CHECKS.register(
    "Under which key do these routes send the status?", assumption="`status` or `status_code`"
)
def file_status_key(harness: LiveHarness) -> Outcome:
    lease = _request_lease(harness, _BASE64_MD5)
    refused = harness.post_to_workspace("connector/dash/addFile", _SESSION_FILE | {"leaseId": "none"})
    observations = []
    for name, response in (("a lease", lease), ("a refusal", refused)):
        (body,) = response.frames
        keys = [key for key in ("status", "status_code") if isinstance(body.get(key), int)]
        observations.append(f"{name}: HTTP {response.status}, {' and '.join(keys) or 'no status'}")
    return Outcome("; ".join(observations), matches_assumption="no status" not in str(observations))


@CHECKS.register(
    "How long does a session file last?",
    assumption="24 hours or up to 7 days; this package warns after 24 hours",
)
def file_life(harness: LiveHarness) -> Outcome:
    file_id = harness.require_setting("FILE", "the id of a session file that you uploaded days ago")
    response = harness.post_to_workspace("connector/dash/describeFile", {"fileId": file_id})
    if refusal := _find_refusal(response):
        return Outcome(f"it is gone: {refusal}")
    data = response.frames[0]["data"]
    uploaded_at = parse_created_at(data.get("uploadTime"))
    age = "unknown" if uploaded_at is None else f"{(time.time() - uploaded_at) / 3600:.0f} hours"
    return Outcome(f"{data['status']}, age {age}")


def _request_lease(harness: LiveHarness, md5: str) -> RawResponse:
    body = {"fileName": "note.md", "sizeBytes": str(len(_CONTENT)), "contentMd5": md5}
    return harness.post_to_workspace("connector/dash/applyFileUploadLease", _SESSION_FILE | body)


def _upload(harness: LiveHarness) -> str:
    """Upload a file and return its id."""
    lease = _get_data(_request_lease(harness, _BASE64_MD5))
    param = lease["param"]
    is_remote = not is_loopback(param["url"])
    with httpx.Client(timeout=60, trust_env=is_remote) as client:
        client.put(param["url"], headers=param["headers"], content=_CONTENT).raise_for_status()
    body = _SESSION_FILE | {"leaseId": lease["leaseId"], "parser": "AUTO_SELECT"}
    return str(_get_data(harness.post_to_workspace("connector/dash/addFile", body))["fileId"])


def _describe(harness: LiveHarness, file_id: str) -> dict[str, Any]:
    return _get_data(harness.post_to_workspace("connector/dash/describeFile", {"fileId": file_id}))


def _get_data(response: RawResponse) -> dict[str, Any]:
    if refusal := _find_refusal(response):
        message = f"refused: {refusal}"
        raise CheckSkipped(message)
    data: dict[str, Any] = response.frames[0]["data"]
    return data


def _find_refusal(response: RawResponse) -> str:
    """Return the status and the code of a refusal, or an empty string."""
    body = response.frames[0] if response.content.lstrip().startswith(b"{") else {}
    if response.status == 200 and body.get("code") == "Success":
        return ""
    status = body.get("status") or body.get("status_code") or response.status
    return f"HTTP {response.status}, status {status} `{body.get('code')}`"
