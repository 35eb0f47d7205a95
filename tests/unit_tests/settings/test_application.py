"""The fields that users set: what is checked before anything is sent."""

import math
from typing import Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from langchain_bailian_app import BailianAppChatModel, BizParams, RagOptions
from langchain_bailian_app._settings.application import ApplicationFields, hide_secrets
from langchain_bailian_app._settings.connection import ConnectionFields


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
        {"timeout": math.inf},
        {"timeout": math.nan},
        {"connect_timeout": 2_000_001},
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


# -- keywords of a call ------------------------------------------------------------------------------


def test_keywords_of_a_call_are_laid_over_the_fields() -> None:
    fields = ApplicationFields(memory_id="m", temperature=0.5, stop="。")

    assert fields.overlaid({"temperature": 0, "seed": 1, "stop": None}) == ApplicationFields(
        memory_id="m", temperature=0, seed=1, stop="。"
    )
    assert fields == ApplicationFields(memory_id="m", temperature=0.5, stop="。")
    with pytest.raises(ValidationError, match="max_tokens"):
        fields.overlaid({"max_tokens": 0})


@pytest.mark.parametrize("name", ["stream", "stream_usage", "ls_structured_output_format", "model"])
def test_what_langchain_adds_for_itself_is_let_pass(name: str) -> None:
    fields = ApplicationFields(memory_id="m")

    assert fields.overlaid({name: "x", "unknown": None}) is fields


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        (
            {"sesion_id": "s"},
            TypeError,
            "^a call has no argument `sesion_id`: did you mean `session_id`",
        ),
        ({"model_id": "q"}, TypeError, "^a call has no argument `model_id`: did you mean `app_model`"),
        ({"xyz": 1}, TypeError, "^a call has no argument `xyz`$"),
        ({"app_id": "app"}, TypeError, "^`app_id` is for the constructor"),
        ({"timeout": 1}, TypeError, "^`timeout` is for the constructor"),
        (
            {"tools": []},
            NotImplementedError,
            '^a Bailian application .*`tool_calling="prompt"` emulates',
        ),
        ({"strict": True}, NotImplementedError, "^a Bailian application runs its own tools"),
        ({"response_format": {}}, NotImplementedError, "^the service .*: use `with_structured_output`"),
    ],
)
def test_a_keyword_that_a_call_does_not_take_is_refused_with_advice(
    keywords: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        ApplicationFields().overlaid(keywords)


def test_where_tools_are_told_in_words_their_keywords_are_no_fields() -> None:
    tools: dict[str, Any] = {"tools": [{}], "tool_choice": "any", "strict": True}
    fields = ApplicationFields(tool_calling="prompt")

    assert fields.overlaid(tools) is fields
    assert ApplicationFields().overlaid(tools | {"tool_calling": "prompt"}) == fields
    with pytest.raises(TypeError, match="no argument `toolz`"):
        fields.overlaid({"toolz": []})


def test_keywords_that_are_kept_show_no_secret() -> None:
    url = "https://example.com/a.png?Signature=planted"
    given: dict[str, Any] = {
        "biz_params": {"city": "杭州", "user_defined_tokens": {"tool": "planted"}},
        "image_list": [url, url],
        "file_list": url,
        "memory_id": "m",
    }
    kept = hide_secrets(given)

    assert "planted" not in repr(kept)
    assert ApplicationFields(**kept) == ApplicationFields(**given)
    assert kept["biz_params"].to_wire()["user_defined_tokens"] == {"tool": {"user_token": "planted"}}
    assert (kept["image_list"], kept["file_list"]) == ([url, url], [url])
    assert given["file_list"] == url


def test_keywords_without_secrets_are_kept_as_they_are() -> None:
    given = {"memory_id": "m", "image_list": None, "biz_params": BizParams(city="杭州")}

    assert hide_secrets(given) == given
