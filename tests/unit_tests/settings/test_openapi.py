"""Validation and serialization of the settings for Bailian's OpenAPI."""

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


def make_fields(**values: Any) -> OpenApiFields:
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
def test_an_endpoint_without_a_scheme_uses_https(endpoint: str | None, expected: str | None) -> None:
    assert make_fields(endpoint=endpoint).endpoint == expected


@pytest.mark.parametrize(
    ("endpoint", "problem"),
    [
        ("https://bailian.example/#api", "expected a host like"),
        ("https://user:pass@bailian.example", "`endpoint`: it contains a user name or password"),
        ("https://bailian.example/api/v1", "'https://bailian.example/api/v1': expected a host like"),
        ("bailian.example/api", "expected a host"),
        ("https://bailian.example?region=x", "expected a host"),
        ("ftp://bailian.example", "expected a host"),
        ("", "expected a host"),
        ("https://", "expected a host"),
        ("http://bailian.example", "'http://bailian.example': .* would be sent unencrypted; use https"),
        ("http://bailian.example:80", "unencrypted"),
    ],
)
def test_any_other_endpoint_is_an_error_without_the_password(endpoint: str, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem) as caught:
        make_fields(endpoint=endpoint)
    assert "pass@" not in str(caught.value)


def test_workspace_and_endpoint_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_WORKSPACE_ID", "old-name")
    monkeypatch.setenv("BAILIAN_OPENAPI_ENDPOINT", "bailian.example")
    from_environment = OpenApiFields()
    monkeypatch.setenv("DASHSCOPE_WORKSPACE", "new-name")

    assert (from_environment.workspace_id, from_environment.endpoint) == (
        "old-name",
        "https://bailian.example",
    )
    assert OpenApiFields().workspace_id == "new-name"


def test_an_endpoint_of_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAILIAN_OPENAPI_ENDPOINT", "http://bailian.example")

    with pytest.raises(ValidationError, match="unencrypted"):
        make_fields()


@pytest.mark.parametrize("values", [{}, {"workspace_id": ""}, {"workspace_id": None}])
def test_without_a_workspace_the_error_explains_how_to_set_one(values: dict[str, Any]) -> None:
    with pytest.raises(
        ValidationError, match=r"missing `workspace_id`: pass it or set DASHSCOPE_WORKSPACE.*业务空间"
    ):
        OpenApiFields(**values)


@pytest.mark.parametrize("workspace_id", ["a/b", "w\ns", "x" * 129])
def test_an_invalid_workspace_id_is_rejected(workspace_id: str) -> None:
    with pytest.raises(ValidationError, match="invalid `workspace_id`"):
        make_fields(workspace_id=workspace_id)


def test_white_space_around_a_workspace_id_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_WORKSPACE", " ws-1\n")

    assert OpenApiFields().workspace_id == make_fields(workspace_id="ws-1 ").workspace_id == "ws-1"


@pytest.mark.parametrize("field", ["access_key_id", "access_key_secret"])
def test_half_an_access_key_is_an_error(field: str) -> None:
    with pytest.raises(ValidationError, match="belong together: pass both or neither"):
        make_fields(**{field: "planted"})


def test_secrets_are_in_no_dump_no_repr_and_no_error() -> None:
    secrets = {"access_key_secret": "planted-secret", "security_token": "planted-token"}
    original = make_fields(access_key_id="id", client="planted-client", **secrets)
    with pytest.raises(ValidationError) as caught:
        make_fields(**secrets)

    representations = (
        repr(original),
        str(original.model_dump()),
        original.model_dump_json(),
        str(caught.value),
    )
    assert "planted" not in "".join(representations)


def test_a_pickle_has_the_settings_but_no_access_key_and_no_connection() -> None:
    original = BailianMemory(
        workspace_id="ws",
        read_timeout=7,
        access_key_id="planted-id",
        access_key_secret="planted-secret",
        security_token="planted-token",
        client="planted-client",
    )
    data = pickle.dumps(original)
    unpickled = pickle.loads(data)  # noqa: S301

    assert b"planted" not in data
    assert dict(unpickled) == dict(BailianMemory(workspace_id="ws", read_timeout=7))
    assert unpickled.model_fields_set == original.model_fields_set


def test_a_copy_in_this_process_can_still_sign_its_requests() -> None:
    secrets = {"access_key_id": "id", "access_key_secret": "planted"}

    assert dict(copy.deepcopy(make_fields(**secrets))) == dict(make_fields(**secrets))
