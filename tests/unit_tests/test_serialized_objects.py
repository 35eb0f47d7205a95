"""Pickles and LangChain dumps from before the package had folders: they still load."""

from __future__ import annotations

import base64
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from langchain_core.load import dumpd, load
from langchain_core.runnables.base import RunnableBinding

from langchain_bailian_app import (
    BailianAppChatModel,
    BailianAppTool,
    BailianRetriever,
    BizParams,
    InMemorySessionStore,
    RagOptions,
)

SERIALIZED: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).parents[1].joinpath("serialized.json").read_text("utf-8")
)
PICKLES = [name for name, forms in SERIALIZED.items() if "pickle" in forms]
DUMPS = [name for name, forms in SERIALIZED.items() if forms["dump"]["type"] == "constructor"]

FIELDS: dict[str, Any] = {"workspace": "ws", "base_url": "https://gateway.example/api/v1"}
RAG_OPTIONS = RagOptions(
    pipeline_ids=["kb"], file_ids=["f"], tags="t", metadata_filter={"year": "2025"}
)
BIZ_PARAMS = BizParams(city="杭州", user_prompt_params={"tone": "brief"})


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "planted-key")


def unpickled(name: str) -> Any:
    return pickle.loads(base64.b64decode(SERIALIZED[name]["pickle"]))  # noqa: S301  # our own


def loaded(name: str) -> Any:
    return load(
        SERIALIZED[name]["dump"],
        allowed_objects=[BailianAppChatModel, BailianRetriever, BizParams, RagOptions, RunnableBinding],
        valid_namespaces=["langchain_bailian_app"],
        secrets_map={"DASHSCOPE_API_KEY": "planted-key"},
    )


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_can_be_loaded(name: str) -> None:
    assert unpickled(name) is not None


@pytest.mark.parametrize("name", DUMPS)
def test_a_dump_can_be_loaded_and_is_made_again(name: str) -> None:
    assert dumpd(loaded(name)) == SERIALIZED[name]["dump"]


@pytest.mark.parametrize("read", [unpickled, loaded])
def test_options_hold_what_they_held(read: Any) -> None:
    assert read("rag_options") == RAG_OPTIONS
    assert read("biz_params") == BIZ_PARAMS


@pytest.mark.parametrize("read", [unpickled, loaded])
def test_a_model_holds_what_it_held(read: Any) -> None:
    model = read("model_with_options_and_store")

    assert type(model) is BailianAppChatModel
    assert (model.app_id, model.workspace, model.base_url) == ("app", *FIELDS.values())
    assert (model.rag_options, model.biz_params, model.stop) == (RAG_OPTIONS, BIZ_PARAMS, ["。"])
    assert model.history == "thread"


def test_a_pickled_model_has_its_store() -> None:
    assert type(unpickled("model_with_options_and_store").session_store) is InMemorySessionStore
    assert type(unpickled("store")) is InMemorySessionStore


@pytest.mark.parametrize("read", [unpickled, loaded])
def test_a_binding_holds_its_keywords(read: Any) -> None:
    binding = read("bound_model")

    assert binding.bound.app_id == "app"
    assert binding.kwargs == {"memory_id": "m", "rag_options": RAG_OPTIONS, "biz_params": BIZ_PARAMS}
    assert [tool["function"]["name"] for tool in read("bound_tools").kwargs["tools"]] == ["f"]


@pytest.mark.parametrize("read", [unpickled, loaded])
def test_a_retriever_holds_what_it_held(read: Any) -> None:
    assert (read("retriever").app_id, read("retriever").k) == ("app", 3)
    pipeline = read("pipeline_retriever")
    assert (pipeline.pipeline_id, pipeline.k, pipeline.rerank_min_score) == ("kb", 2, 0.5)


def test_the_dump_of_a_tool_is_as_it_was() -> None:
    model = BailianAppChatModel(app_id="app", api_key="planted-key", **FIELDS)
    tool = BailianAppTool(model=model, name="customs", description="answers questions")

    assert without_addresses(dumpd(tool)) == without_addresses(SERIALIZED["tool"]["dump"])


def without_addresses(dump: Any) -> Any:
    """Return the dump of an object that cannot be loaded, without what differs in each run."""
    shown = re.sub(r"<function \w+ at 0x[0-9a-f]+>", "<function>", dump["repr"])
    return dump | {"repr": shown}
