"""Tests that pickles and LangChain dumps from before the package had folders still load and work."""

from __future__ import annotations

import base64
import json
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.load import dumpd, load
from langchain_core.runnables.base import RunnableBinding
from pydantic import SecretStr

from langchain_bailian_app import (
    BailianAppChatModel,
    BailianAppTool,
    BailianRetriever,
    BizParams,
    InMemorySessionStore,
    RagOptions,
)

if TYPE_CHECKING:
    from langchain_bailian_app.emulator import BailianEmulator

SERIALIZED: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).parents[1].joinpath("serialized.json").read_text("utf-8")
)
PICKLES = [name for name, forms in SERIALIZED.items() if "pickle" in forms]
DUMPS = [name for name, forms in SERIALIZED.items() if forms["dump"]["type"] == "constructor"]

QUESTION = "什么是滞报金？"
FIELDS: dict[str, Any] = {"workspace": "ws", "base_url": "https://gateway.example/api/v1"}
RAG_OPTIONS = RagOptions(
    pipeline_ids=["kb"], file_ids=["f"], tags="t", metadata_filter={"year": "2025"}
)
BIZ_PARAMS = BizParams(city="杭州", user_prompt_params={"tone": "brief"})


@pytest.fixture(autouse=True)
def api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "planted-key")


def load_pickle(name: str) -> Any:
    return pickle.loads(base64.b64decode(SERIALIZED[name]["pickle"]))  # noqa: S301  # our own


def load_dump(name: str) -> Any:
    return load(
        SERIALIZED[name]["dump"],
        allowed_objects=[BailianAppChatModel, BailianRetriever, BizParams, RagOptions, RunnableBinding],
        valid_namespaces=["langchain_bailian_app"],
        secrets_map={"DASHSCOPE_API_KEY": "planted-key"},
    )


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_can_be_loaded(name: str) -> None:
    assert load_pickle(name) is not None


@pytest.mark.parametrize("name", DUMPS)
def test_a_dump_survives_a_round_trip(name: str) -> None:
    assert dumpd(load_dump(name)) == SERIALIZED[name]["dump"]


@pytest.mark.parametrize("load_object", [load_pickle, load_dump])
def test_options_are_unchanged(load_object: Any) -> None:
    assert load_object("rag_options") == RAG_OPTIONS
    assert load_object("biz_params") == BIZ_PARAMS


@pytest.mark.parametrize("load_object", [load_pickle, load_dump])
def test_a_model_is_unchanged(load_object: Any) -> None:
    model = load_object("model_with_options_and_store")

    assert type(model) is BailianAppChatModel
    assert (model.app_id, model.workspace, model.base_url) == ("app", *FIELDS.values())
    assert (model.rag_options, model.biz_params, model.stop) == (RAG_OPTIONS, BIZ_PARAMS, ["。"])
    assert model.history == "thread"


def test_a_pickle_of_an_older_version_has_the_defaults_of_newer_fields() -> None:
    assert load_pickle("model").first_token_timeout is None
    assert load_pickle("retriever").first_token_timeout is None


def test_a_pickled_model_keeps_its_store() -> None:
    assert type(load_pickle("model_with_options_and_store").session_store) is InMemorySessionStore
    assert type(load_pickle("store")) is InMemorySessionStore


@pytest.mark.parametrize("load_object", [load_pickle, load_dump])
def test_a_binding_keeps_its_keywords(load_object: Any) -> None:
    binding = load_object("bound_model")

    assert binding.bound.app_id == "app"
    assert binding.kwargs == {"memory_id": "m", "rag_options": RAG_OPTIONS, "biz_params": BIZ_PARAMS}
    assert [tool["function"]["name"] for tool in load_object("bound_tools").kwargs["tools"]] == ["f"]


@pytest.mark.parametrize("load_object", [load_pickle, load_dump])
def test_a_retriever_is_unchanged(load_object: Any) -> None:
    assert (load_object("retriever").app_id, load_object("retriever").k) == ("app", 3)
    pipeline = load_object("pipeline_retriever")
    assert (pipeline.pipeline_id, pipeline.k, pipeline.rerank_min_score) == ("kb", 2, 0.5)


@pytest.mark.parametrize("load_object", [load_pickle, load_dump])
def test_loaded_objects_call_the_service(load_object: Any, bailian: BailianEmulator) -> None:
    connection = {
        "base_url": bailian.base_url,
        "api_key": SecretStr(bailian.api_key),
        "workspace": None,
    }
    app = connection | {"app_id": bailian.app_id}
    base = connection | {"pipeline_id": None, "pipeline_name": "海关术语"}

    assert load_object("model").model_copy(update=app).invoke(QUESTION).text
    assert load_object("bound_model").bound.model_copy(update=app).invoke(QUESTION).text
    assert load_object("retriever").model_copy(update=app).invoke(QUESTION)
    assert load_object("pipeline_retriever").model_copy(update=base).invoke(QUESTION)


def test_the_dump_of_a_tool_is_unchanged() -> None:
    model = BailianAppChatModel(app_id="app", api_key="planted-key", **FIELDS)
    tool = BailianAppTool(model=model, name="customs", description="answers questions")

    assert strip_volatile_values(dumpd(tool)) == strip_volatile_values(SERIALIZED["tool"]["dump"])


def strip_volatile_values(dump: Any) -> Any:
    """Return the dump of an object that cannot be loaded, without addresses and versions."""
    representation = re.sub(r"<function \w+ at 0x[0-9a-f]+>", "<function>", dump["repr"])
    representation = re.sub(r"'lc_versions': {[^}]*}", "'lc_versions': {}", representation)
    return dump | {"repr": representation}
