"""How to reach the OpenAPI: what is checked before anything is sent, and what leaves the process."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from langchain_bailian_app._settings.openapi import OpenApiFields
from langchain_bailian_app.memory import BailianMemory

VARIABLES = ("DASHSCOPE_WORKSPACE", "DASHSCOPE_WORKSPACE_ID", "BAILIAN_OPENAPI_ENDPOINT")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def fields(**values: Any) -> OpenApiFields:
    return OpenApiFields(**{"workspace_id": "ws"} | values)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("bailian.example", "https://bailian.example"),
        ("bailian.example:8443", "https://bailian.example:8443"),
        ("https://bailian.example/", "https://bailian.example"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost", "http://localhost"),
        (None, None),
    ],
)
def test_an_endpoint_is_a_host_and_https_unless_it_says_otherwise(
    endpoint: str | None, expected: str | None
) -> None:
    assert fields(endpoint=endpoint).endpoint == expected


@pytest.mark.parametrize(
    ("endpoint", "problem"),
    [
        ("https://bailian.example/#api", "is no host like"),
        ("https://user:pass@bailian.example", "`endpoint` has a user name or password in it"),
        ("https://bailian.example/api/v1", "'https://bailian.example/api/v1' is no host like"),
        ("bailian.example/api", "is no host"),
        ("https://bailian.example?region=x", "is no host"),
        ("ftp://bailian.example", "is no host"),
        ("", "is no host"),
        ("https://", "is no host"),
        ("http://bailian.example", "'http://bailian.example' would send .* unencrypted: use https"),
        ("http://bailian.example:80", "unencrypted"),
    ],
)
def test_any_other_endpoint_is_an_error_that_shows_it_but_no_password(
    endpoint: str, problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem) as caught:
        fields(endpoint=endpoint)
    assert "pass@" not in str(caught.value)


def test_workspace_and_endpoint_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_WORKSPACE_ID", "old-name")
    monkeypatch.setenv("BAILIAN_OPENAPI_ENDPOINT", "bailian.example")
    found = OpenApiFields()
    monkeypatch.setenv("DASHSCOPE_WORKSPACE", "new-name")

    assert (found.workspace_id, found.endpoint) == ("old-name", "https://bailian.example")
    assert OpenApiFields().workspace_id == "new-name"


def test_an_endpoint_of_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAILIAN_OPENAPI_ENDPOINT", "http://bailian.example")

    with pytest.raises(ValidationError, match="unencrypted"):
        fields()


@pytest.mark.parametrize("given", [{}, {"workspace_id": ""}, {"workspace_id": None}])
def test_without_a_workspace_the_error_says_how_to_give_one(given: dict[str, Any]) -> None:
    with pytest.raises(
        ValidationError, match=r"give `workspace_id` or set the variable DASHSCOPE_WORKSPACE.*业务空间"
    ):
        OpenApiFields(**given)


@pytest.mark.parametrize("workspace_id", ["a/b", "ws\n", "x" * 129])
def test_a_workspace_leads_to_no_other_path(workspace_id: str) -> None:
    with pytest.raises(ValidationError, match="is no id of the service"):
        fields(workspace_id=workspace_id)


@pytest.mark.parametrize("half", ["access_key_id", "access_key_secret"])
def test_half_an_access_key_is_an_error(half: str) -> None:
    with pytest.raises(ValidationError, match="belong together: give both or none"):
        fields(**{half: "planted"})


def test_secrets_are_in_no_dump_no_repr_and_no_error() -> None:
    secrets = {"access_key_secret": "planted-secret", "security_token": "planted-token"}
    whole = fields(access_key_id="id", client="planted-client", **secrets)
    with pytest.raises(ValidationError) as caught:
        fields(**secrets)

    shown = (repr(whole), str(whole.model_dump()), whole.model_dump_json(), str(caught.value))
    assert "planted" not in "".join(shown)


def test_a_pickle_has_the_settings_but_no_access_key_and_no_connection() -> None:
    whole = BailianMemory(
        workspace_id="ws",
        read_timeout=7,
        access_key_id="planted-id",
        access_key_secret="planted-secret",
        security_token="planted-token",
        client="planted-client",
    )
    data = pickle.dumps(whole)
    other = pickle.loads(data)  # noqa: S301

    assert b"planted" not in data
    assert dict(other) == dict(BailianMemory(workspace_id="ws", read_timeout=7))
    assert other.model_fields_set == whole.model_fields_set


def test_a_copy_in_this_process_can_still_sign_its_requests() -> None:
    secrets = {"access_key_id": "id", "access_key_secret": "planted"}

    assert dict(copy.deepcopy(fields(**secrets))) == dict(fields(**secrets))
