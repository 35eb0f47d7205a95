"""Validation of connection settings."""

import math
from typing import Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from langchain_bailian_app._settings.connection import ConnectionFields, check_id


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)


def test_the_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-planted")

    assert SecretStr("sk-planted") == ConnectionFields().api_key


def test_the_key_is_optional() -> None:
    assert ConnectionFields().api_key is None


def test_a_key_appears_in_no_repr_and_no_dump() -> None:
    fields = ConnectionFields(api_key="sk-planted")

    for text in (repr(fields), str(fields), repr(fields.model_dump()), fields.model_dump_json()):
        assert "sk-planted" not in text


def test_a_key_may_be_a_function() -> None:
    def key() -> str:
        return "sk-planted"

    assert key is ConnectionFields(api_key=key).api_key


def test_timeouts_and_retries_have_the_documented_defaults() -> None:
    fields = ConnectionFields()

    assert (
        fields.timeout,
        fields.first_token_timeout,
        fields.connect_timeout,
        fields.total_timeout,
        fields.max_retries,
        fields.gateway,
    ) == (300.0, None, 5.0, None, 2, "shared")


@pytest.mark.parametrize(
    "values",
    [
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": math.inf},
        {"timeout": math.nan},
        {"connect_timeout": 2_000_001},
        {"connect_timeout": 0},
        {"total_timeout": 0},
        {"first_token_timeout": 0},
        {"max_retries": -1},
        {"workspace": "a/b"},
        {"workspace": "a.b"},
        {"workspace": "w\ns"},
        {"workspace": ""},
        {"workspace": "x" * 129},
        {"region": "mars"},
        {"gateway": "other"},
        {"base_url": "https://example.com"},
        {"base_url": "http://example.com/api/v1"},
        {"http_client": httpx.Client(follow_redirects=True)},
        {"http_async_client": httpx.AsyncClient(follow_redirects=True)},
    ],
)
def test_invalid_settings_are_rejected_before_anything_is_sent(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        ConnectionFields(**values)


def test_an_invalid_workspace_is_named_in_the_error() -> None:
    with pytest.raises(ValidationError, match=r"invalid `workspace` 'a/b': expected 1 to 128 letters"):
        ConnectionFields(workspace="a/b")


@pytest.mark.parametrize(
    "values",
    [
        {"base_url": "https://example.com/api/v1"},
        {"base_url": "http://127.0.0.1:8000/api/v1"},
        {"base_url": "http://example.com/api/v1", "allow_insecure_http": True},
        {"http_client": httpx.Client()},
        {"total_timeout": 0.5},
        {"first_token_timeout": 0.5},
        {"max_retries": 0},
        {"workspace": "llm-x_1"},
    ],
)
def test_valid_settings_are_accepted(values: dict[str, Any]) -> None:
    fields = ConnectionFields(**values)

    assert values == {name: getattr(fields, name) for name in values}


def test_an_id_has_letters_digits_and_dashes() -> None:
    assert check_id("a-1_B", name="app_id") == "a-1_B"
    with pytest.raises(ValueError, match=r"invalid `app_id` '\.\./x': expected 1 to 128 letters"):
        check_id("../x", name="app_id")


@pytest.mark.parametrize("pasted", [" app-1", "app-1\n", "\tapp-1 \r\n", "\u00a0app-1\u3000"])
def test_white_space_around_an_id_is_removed(pasted: str) -> None:
    assert check_id(pasted, name="app_id") == "app-1"
    assert ConnectionFields(workspace=pasted).workspace == "app-1"


@pytest.mark.parametrize("value", ["", " ", "app 1", "app\n1", " a/b "])
def test_an_id_with_other_problems_stays_an_error(value: str) -> None:
    with pytest.raises(ValueError, match="invalid `app_id`") as caught:
        check_id(value, name="app_id")

    assert repr(value) in str(caught.value)
