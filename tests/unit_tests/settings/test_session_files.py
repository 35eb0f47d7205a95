"""Validation and serialization of the connection settings of `BailianFiles`."""

from __future__ import annotations

import pickle
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from langchain_bailian_app._settings.connection import ConnectionFields
from langchain_bailian_app._settings.session_files import SessionFileFields

ACCESS_KEY = {"access_key_id": "id", "access_key_secret": "planted-secret"}


def test_without_settings_the_api_key_is_used() -> None:
    fields = SessionFileFields()

    assert (fields.uses_access_key, fields.has_connection_settings) == (False, False)
    assert (fields.workspace, fields.workspace_id) == (None, "")


@pytest.mark.parametrize("settings", [ACCESS_KEY, {"client": object()}])
def test_an_access_key_or_an_official_client_selects_the_openapi(settings: dict[str, Any]) -> None:
    fields = SessionFileFields(workspace="ws", **settings)

    assert (fields.uses_access_key, fields.has_connection_settings) == (True, True)


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": "k"},
        {"workspace": "ws"},
        {"base_url": "https://a.example/api/v1"},
        {"region": "cn-beijing"},
        {"http_client": httpx.Client()},
        {"allow_insecure_http": True},
    ],
)
def test_each_setting_of_the_connection_counts_as_an_own_setting(settings: dict[str, Any]) -> None:
    assert SessionFileFields(**settings).has_connection_settings


@pytest.mark.parametrize("name", ["workspace", "workspace_id"])
def test_the_workspace_has_two_names(name: str) -> None:
    fields = SessionFileFields(**{name: " ws-1\n"})

    assert (fields.workspace, fields.workspace_id) == ("ws-1", "ws-1")
    setattr(fields, name, "ws-2")
    assert (fields.workspace, fields.workspace_id) == ("ws-2", "ws-2")


@pytest.mark.parametrize("variable", ["DASHSCOPE_WORKSPACE", "DASHSCOPE_WORKSPACE_ID"])
def test_the_workspace_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "from-environment")

    assert SessionFileFields(**ACCESS_KEY).workspace_id == "from-environment"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"workspace": "a", "workspace_id": "b"}, "workspace_id"),
        ({"workspace": "a/b"}, "invalid `workspace`"),
        ({"base_url": "https://a.example/v1"}, r"invalid `base_url`.*must end in /api/v1"),
        ({"base_url": "http://a.example/api/v1"}, "insecure `base_url`"),
        ({"http_client": "planted"}, "invalid `http_client`"),
        ({"http_async_client": None}, "http_async_client"),
        ({"endpoint": "bailian.example"}, "`endpoint` has no effect without `access_key_id`"),
        ({"security_token": "planted"}, "`security_token` has no effect without `access_key_id`"),
        ({"access_key_id": "planted"}, "belong together"),
        (ACCESS_KEY, "missing `workspace`: pass it or set DASHSCOPE_WORKSPACE"),
        (ACCESS_KEY | {"workspace": "w", "api_key": "planted"}, "`api_key` has no effect with an Acc"),
        (
            ACCESS_KEY | {"workspace": "w", "base_url": "https://a.example/api/v1"},
            "`base_url` has no effect",
        ),
        ({"client": 1, "workspace": "w", "http_client": httpx.Client()}, "`http_client` has no effect"),
        (ACCESS_KEY | {"workspace": "w", "endpoint": "http://a.example"}, "insecure `endpoint`"),
    ],
)
def test_invalid_settings_and_settings_without_effect_are_errors(
    settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem) as caught:
        SessionFileFields(**settings)
    assert "planted" not in str(caught.value)
    assert str(caught.value).count("validation error") == 1


def test_an_endpoint_in_the_environment_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAILIAN_OPENAPI_ENDPOINT", "bailian.example")

    assert not SessionFileFields().uses_access_key
    assert not SessionFileFields(endpoint=None).uses_access_key


def test_the_settings_of_the_requests_have_the_timeouts_of_requests_and_no_retries() -> None:
    client = httpx.Client()
    fields = SessionFileFields(
        api_key="k", workspace="ws", read_timeout=7, connect_timeout=2, http_client=client
    )
    connection = fields.make_connection()

    assert isinstance(connection, ConnectionFields)
    assert (connection.timeout, connection.connect_timeout, connection.max_retries) == (7, 2, 0)
    assert connection.workspace == "ws"
    assert connection.http_client is client


def test_keys_are_in_no_dump_no_repr_and_no_pickle() -> None:
    fields = SessionFileFields(api_key="planted-key", workspace="ws", region="cn-beijing")
    unpickled = pickle.loads(pickle.dumps(fields))  # noqa: S301

    texts = [
        repr(fields),
        str(fields.model_dump()),
        fields.model_dump_json(),
        str(pickle.dumps(fields)),
    ]
    assert "planted" not in "".join(texts)
    assert (unpickled.api_key, unpickled.workspace, unpickled.region) == (None, "ws", "cn-beijing")


def test_the_settings_of_a_model_replace_those_of_the_connection_only() -> None:
    model = ConnectionFields(api_key="k", workspace="ws", timeout=1)
    values = SessionFileFields(read_timeout=7).copy_connection(model)

    assert (values["workspace"], values["api_key"], values["read_timeout"]) == ("ws", model.api_key, 7)
    assert "timeout" not in values
