"""The fields that users set: what is checked before anything is sent."""

from typing import Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from langchain_bailian_app import BailianAppChatModel, BizParams, RagOptions
from langchain_bailian_app._application_fields import ApplicationFields
from langchain_bailian_app._connection_fields import ConnectionFields


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BAILIAN_APP_ID", "DASHSCOPE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("app_id", ["a", "0" * 128, "app_1-B", "-"])
def test_an_application_id_has_letters_digits_and_dashes(app_id: str) -> None:
    assert app_id == BailianAppChatModel(app_id=app_id).app_id


@pytest.mark.parametrize(
    "app_id", ["", "a/b", "..", "a?b=1", "a b", "a\n", "\na", "茶", "a.b", "a%2Fb", "0" * 129]
)
def test_nothing_else_gets_into_the_url(app_id: str) -> None:
    with pytest.raises(ValidationError, match="is no id of the service"):
        BailianAppChatModel(app_id=app_id)


def test_the_application_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAILIAN_APP_ID", "from-environment")

    assert BailianAppChatModel().app_id == "from-environment"


def test_the_application_of_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAILIAN_APP_ID", "../x")

    with pytest.raises(ValidationError, match="is no id of the service"):
        BailianAppChatModel()


def test_without_an_application_the_error_names_the_variable() -> None:
    with pytest.raises(ValueError, match="BAILIAN_APP_ID"):
        BailianAppChatModel()


def test_the_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-planted")

    assert SecretStr("sk-planted") == ConnectionFields().api_key


def test_without_a_key_there_is_none() -> None:
    assert ConnectionFields().api_key is None


def test_a_key_is_shown_nowhere() -> None:
    fields = ConnectionFields(api_key="sk-planted")

    for text in (repr(fields), str(fields), repr(fields.model_dump()), fields.model_dump_json()):
        assert "sk-planted" not in text


def test_a_key_may_be_a_function() -> None:
    def key() -> str:
        return "sk-planted"

    assert key is ConnectionFields(api_key=key).api_key


def test_timeouts_and_retries_have_the_defaults_that_are_promised() -> None:
    fields = ConnectionFields()

    assert (
        fields.timeout,
        fields.connect_timeout,
        fields.total_timeout,
        fields.max_retries,
        fields.gateway,
    ) == (300.0, 5.0, None, 2, "shared")


@pytest.mark.parametrize(
    "values",
    [
        {"timeout": 0},
        {"timeout": -1},
        {"connect_timeout": 0},
        {"total_timeout": 0},
        {"max_retries": -1},
        {"workspace": "a/b"},
        {"workspace": "a.b"},
        {"workspace": "ws\n"},
        {"workspace": ""},
        {"region": "mars"},
        {"gateway": "other"},
        {"base_url": "https://example.com"},
        {"base_url": "http://example.com/api/v1"},
        {"http_client": httpx.Client(follow_redirects=True)},
        {"http_async_client": httpx.AsyncClient(follow_redirects=True)},
    ],
)
def test_a_wrong_connection_is_refused_before_anything_is_sent(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        ConnectionFields(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"base_url": "https://example.com/api/v1"},
        {"base_url": "http://127.0.0.1:8000/api/v1"},
        {"base_url": "http://example.com/api/v1", "allow_insecure_http": True},
        {"http_client": httpx.Client()},
        {"total_timeout": 0.5},
        {"max_retries": 0},
        {"workspace": "llm-x_1"},
    ],
)
def test_a_right_connection_is_taken(values: dict[str, Any]) -> None:
    fields = ConnectionFields(**values)

    assert values == {name: getattr(fields, name) for name in values}


def test_the_defaults_ask_for_nothing() -> None:
    fields = ApplicationFields()
    rest = {"history": "messages", "citation_markers": "strip", "accept_missing_stop": False} | {
        "legacy_history": False
    }

    assert rest == fields.model_dump(exclude_none=True)


@pytest.mark.parametrize("name", ["stop", "mcp_servers", "image_list", "file_list", "doc_tag_codes"])
def test_a_bare_string_is_a_list_of_one(name: str) -> None:
    assert getattr(ApplicationFields(**{name: "x"}), name) == ["x"]


@pytest.mark.parametrize(
    "values",
    [
        {"dialog_round": -1},
        {"max_tokens": 0},
        {"flow_stream_mode": "other"},
        {"doc_reference_type": "other"},
        {"citation_markers": "other"},
        {"stop": 1},
        {"stop": [""]},
        {"rag_options": {"pipeline_ids": ["kb"] * 6}},
        {"biz_params": "杭州"},
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_sent(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        ApplicationFields(**values)


def test_dicts_become_options() -> None:
    fields = ApplicationFields(rag_options={"tags": "a"}, biz_params={"city": "杭州"})

    assert RagOptions(tags=["a"]) == fields.rag_options
    assert BizParams(city="杭州") == fields.biz_params
