"""Tests for the validation of fields and call arguments that users set."""

from typing import Any

import pytest
from pydantic import ValidationError

from langchain_bailian_app import BailianAppChatModel, BizParams, RagOptions
from langchain_bailian_app._request.fields import CompletionFields, wrap_secrets


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BAILIAN_APP_ID", "DASHSCOPE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("app_id", ["a", "0" * 128, "app_1-B", "-"])
def test_an_application_id_has_letters_digits_and_dashes(app_id: str) -> None:
    assert app_id == BailianAppChatModel(app_id=app_id).app_id


@pytest.mark.parametrize(
    "app_id", ["", "a/b", "..", "a?b=1", "a b", "a\nb", "茶", "a.b", "a%2Fb", "0" * 129]
)
def test_an_invalid_application_id_is_rejected(app_id: str) -> None:
    with pytest.raises(ValidationError, match="invalid `app_id`"):
        BailianAppChatModel(app_id=app_id)


def test_the_application_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAILIAN_APP_ID", "from-environment")

    assert BailianAppChatModel().app_id == "from-environment"


def test_an_application_from_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAILIAN_APP_ID", "../x")

    with pytest.raises(ValidationError, match="invalid `app_id`"):
        BailianAppChatModel()


def test_without_an_application_the_error_names_the_variable() -> None:
    with pytest.raises(ValueError, match="BAILIAN_APP_ID"):
        BailianAppChatModel()


def test_the_defaults_set_no_option() -> None:
    fields = CompletionFields()
    expected = {"history": "messages", "citation_markers": "strip", "accept_missing_stop": False} | {
        "legacy_history": False
    }

    assert expected == fields.model_dump(exclude_none=True)


@pytest.mark.parametrize("name", ["stop", "mcp_servers", "image_list", "file_list", "doc_tag_codes"])
def test_a_bare_string_is_a_list_of_one(name: str) -> None:
    assert getattr(CompletionFields(**{name: "x"}), name) == ["x"]


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
def test_an_invalid_option_is_rejected_before_anything_is_sent(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        CompletionFields(**values)


def test_agent_version_and_legacy_history_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="legacy RAG applications"):
        CompletionFields(legacy_history=True, agent_version="2.0")


def test_dicts_become_options() -> None:
    fields = CompletionFields(rag_options={"tags": "a"}, biz_params={"city": "杭州"})

    assert RagOptions(tags=["a"]) == fields.rag_options
    assert BizParams(city="杭州") == fields.biz_params


# -- arguments of a call -----------------------------------------------------------------------------


def test_keywords_of_a_call_override_the_fields() -> None:
    fields = CompletionFields(memory_id="m", temperature=0.5, stop="。")

    assert fields.with_overrides({"temperature": 0, "seed": 1, "stop": None}) == CompletionFields(
        memory_id="m", temperature=0, seed=1, stop="。"
    )
    assert fields == CompletionFields(memory_id="m", temperature=0.5, stop="。")
    with pytest.raises(ValidationError, match="max_tokens"):
        fields.with_overrides({"max_tokens": 0})


@pytest.mark.parametrize("name", ["stream", "stream_usage", "ls_structured_output_format", "model"])
def test_keywords_that_langchain_adds_are_ignored(name: str) -> None:
    fields = CompletionFields(memory_id="m")

    assert fields.with_overrides({name: "x", "unknown": None}) is fields


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        (
            {"sesion_id": "s"},
            TypeError,
            "^unknown argument `sesion_id`; did you mean `session_id`",
        ),
        ({"model_id": "q"}, TypeError, "^unknown argument `model_id`; did you mean `app_model`"),
        ({"xyz": 1}, TypeError, "^unknown argument `xyz`$"),
        ({"app_id": "app"}, TypeError, "^cannot pass `app_id` per call"),
        ({"timeout": 1}, TypeError, "^cannot pass `timeout` per call"),
        (
            {"tools": []},
            NotImplementedError,
            '^a Bailian application .*`tool_calling="prompt"` to emulate',
        ),
        ({"strict": True}, NotImplementedError, "^a Bailian application runs its own tools"),
        ({"response_format": {}}, NotImplementedError, "^the service .*: use `with_structured_output`"),
    ],
)
def test_an_unsupported_keyword_is_rejected_with_a_hint(
    keywords: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        CompletionFields().with_overrides(keywords)


def test_with_prompted_tool_calling_the_keywords_of_tools_are_ignored() -> None:
    tools: dict[str, Any] = {"tools": [{}], "tool_choice": "any", "strict": True}
    fields = CompletionFields(tool_calling="prompt")

    assert fields.with_overrides(tools) is fields
    assert CompletionFields().with_overrides(tools | {"tool_calling": "prompt"}) == fields
    with pytest.raises(TypeError, match="unknown argument `toolz`"):
        fields.with_overrides({"toolz": []})


def test_wrapped_keywords_show_no_secret() -> None:
    url = "https://example.com/a.png?Signature=planted"
    keywords: dict[str, Any] = {
        "biz_params": {"city": "杭州", "user_defined_tokens": {"tool": "planted"}},
        "image_list": [url, url],
        "file_list": url,
        "memory_id": "m",
    }
    wrapped = wrap_secrets(keywords)

    assert "planted" not in repr(wrapped)
    assert CompletionFields(**wrapped) == CompletionFields(**keywords)
    assert wrapped["biz_params"].to_wire()["user_defined_tokens"] == {"tool": {"user_token": "planted"}}
    assert (wrapped["image_list"], wrapped["file_list"]) == ([url, url], [url])
    assert keywords["file_list"] == url


def test_keywords_without_secrets_are_unchanged() -> None:
    keywords = {"memory_id": "m", "image_list": None, "biz_params": BizParams(city="杭州")}

    assert wrap_secrets(keywords) == keywords
