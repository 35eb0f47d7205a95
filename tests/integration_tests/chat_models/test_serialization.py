"""Tests of LangChain's dump and load, which its standard tests support only for its own classes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from langchain_core.load import dumpd, load

from langchain_bailian_app import BailianAppChatModel, BizParams, RagOptions

if TYPE_CHECKING:
    from langchain_core.load.load import AllowedObject

ALLOWED_CLASSES: list[AllowedObject] = [BailianAppChatModel, BizParams, RagOptions]


def make_model() -> BailianAppChatModel:
    return BailianAppChatModel(
        app_id="app",
        api_key="planted-key",
        workspace="ws",
        rag_options=RagOptions(pipeline_ids=["kb"], tags="t"),
        biz_params=BizParams(city="杭州", user_defined_tokens={"tool": "planted-token"}),
        stop=["。"],
    )


def test_a_dump_can_be_loaded_again() -> None:
    dumped = json.loads(json.dumps(dumpd(make_model())))
    with pytest.warns(UserWarning, match=r"user_defined_tokens.*\['tool'\].*set them again"):
        loaded = load(
            dumped,
            allowed_objects=ALLOWED_CLASSES,
            valid_namespaces=["langchain_bailian_app"],
            secrets_map={"DASHSCOPE_API_KEY": "planted-key"},
        )

    assert loaded.rag_options == make_model().rag_options
    assert loaded.biz_params.to_wire() == {"city": "杭州"}
    assert (loaded.app_id, loaded.workspace, loaded.stop) == ("app", "ws", ["。"])
    assert loaded.api_key.get_secret_value() == "planted-key"


def test_secrets_are_in_no_dump_and_no_repr() -> None:
    model = make_model()
    dumps = [json.dumps(dumpd(model)), repr(model), str(model), str(model.asdict())]
    dumps += [repr(model.biz_params), str(model.model_dump()), model.biz_params.model_dump_json()]

    assert "planted" not in "".join(dumps)


def test_the_identity_of_a_model_is_its_settings() -> None:
    assert make_model().asdict() == {
        "app_id": "app",
        "workspace": "ws",
        "rag_options": {"pipeline_ids": ["kb"], "tags": ["t"]},
        "biz_params": {"city": "杭州"},
        "stop": ["。"],
        "_type": "bailian-app",
    }
