"""Tests of the retriever's checks before a request, and of the settings it copies from a model."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.load import dumpd, load
from langchain_core.messages import HumanMessage
from langchain_core.runnables import ConfigurableField
from pydantic import ValidationError

from langchain_bailian_app import BailianAppChatModel, BailianRetriever, RagOptions


@pytest.mark.parametrize("query", ["", " \n"])
def test_a_query_needs_text(query: str) -> None:
    for fields in ({"app_id": "app"}, {"pipeline_id": "kb"}):
        with pytest.raises(ValueError, match="expected a non-blank string"):
            BailianRetriever(api_key="k", **fields).invoke(query)


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ({"top_n": 3}, TypeError, "did you mean `k`"),
        ({"session_id": "s"}, TypeError, "unknown argument `session_id`"),
        ({"api_key": "k"}, TypeError, "cannot pass `api_key` per call"),
        ({"k": 0}, ValueError, "k"),
        ({"rerank_top_n": 3}, ValueError, "direct search"),
    ],
)
def test_wrong_keywords_of_a_call_are_errors(
    overrides: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        BailianRetriever(app_id="app", api_key="k").invoke("茶", **overrides)


def test_without_anything_to_search_the_error_names_the_missing_arguments() -> None:
    with pytest.raises(ValidationError, match="BAILIAN_APP_ID"):
        BailianRetriever()


def test_a_model_passes_on_its_settings() -> None:
    model = BailianAppChatModel(
        app_id="app", api_key="k", timeout=7, rag_options=RagOptions(tags=["a"]), history="session"
    )

    retriever = BailianRetriever(model=model, timeout=9)

    assert retriever.app_id == "app"
    assert retriever.rag_options == RagOptions(tags=["a"])
    assert retriever.timeout == 9


def test_a_model_passes_on_only_its_connection_to_a_direct_search() -> None:
    model = BailianAppChatModel(app_id="app", timeout=7, rag_options=RagOptions(tags=["a"]))

    retriever = BailianRetriever(model=model, pipeline_id="kb")

    assert (retriever.timeout, retriever.rag_options) == (7, None)


@pytest.mark.parametrize("query", [None, 5, [HumanMessage("茶")]])
def test_a_query_is_a_string(query: Any) -> None:
    with pytest.raises(ValueError, match="expected a non-blank string"):
        BailianRetriever(app_id="app", api_key="k").invoke(query)


def test_an_empty_variable_names_no_application(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAILIAN_APP_ID", "")

    assert BailianRetriever(pipeline_id="kb").app_id is None


def test_a_model_does_not_pass_on_how_its_own_calls_are_streamed() -> None:
    model = BailianAppChatModel(app_id="app", has_thoughts=False, streaming=False)

    retriever = BailianRetriever(model=model)

    assert (retriever.has_thoughts, retriever.streaming) == (None, None)


CONFLICT = "cannot use `app_id` together with `pipeline_"


@pytest.mark.parametrize("target", [{"pipeline_id": "kb"}, {"pipeline_name": "茶"}])
def test_an_explicit_application_cannot_be_combined_with_a_direct_search(
    monkeypatch: pytest.MonkeyPatch, target: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match=CONFLICT):
        BailianRetriever(app_id="app", **target)
    with pytest.raises(ValueError, match=CONFLICT):
        BailianRetriever(app_id="app", model=BailianAppChatModel(app_id="other"), **target)
    monkeypatch.setenv("BAILIAN_APP_ID", "other")
    with pytest.raises(ValueError, match=CONFLICT):
        BailianRetriever(app_id="app", **target)


@pytest.mark.parametrize("target", [{"pipeline_id": "kb"}, {"pipeline_name": "茶"}])
def test_an_application_from_the_environment_is_no_conflict(
    monkeypatch: pytest.MonkeyPatch, target: dict[str, Any]
) -> None:
    monkeypatch.setenv("BAILIAN_APP_ID", " app\n")

    for fields in ({}, {"app_id": None}, {"app_id": "app"}, {"model": BailianAppChatModel()}):
        retriever = BailianRetriever(**fields, **target)
        assert (retriever.kind, retriever.app_id) == ("pipeline", None)


def test_a_direct_search_can_be_rebuilt_without_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BAILIAN_APP_ID", "app")
    retriever = BailianRetriever(pipeline_id="kb")
    through_app = BailianRetriever().configurable_fields(pipeline_id=ConfigurableField(id="kb"))
    dump = dumpd(retriever)

    assert through_app.with_config(configurable={"kb": "kb"}).prepare()[0].pipeline_id == "kb"
    monkeypatch.delenv("BAILIAN_APP_ID")
    rebuilt = BailianRetriever(**dict(retriever))
    loaded = load(dump, valid_namespaces=["langchain_bailian_app"], allowed_objects=[BailianRetriever])
    assert rebuilt.pipeline_id == loaded.pipeline_id == "kb"


def test_an_empty_application_is_no_conflict() -> None:
    assert BailianRetriever(app_id=None, pipeline_id="kb").kind == "pipeline"
