"""Tests of LangChain's dump and load, which its standard tests support only for its own classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.load import dumpd, load

from langchain_bailian_app import BailianAppChatModel, BizParams, RagOptions
from tests.markdown_examples import extract_python_blocks

if TYPE_CHECKING:
    from langchain_core.load.load import AllowedObject

    from langchain_bailian_app.emulator import BailianEmulator

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


def load_model(dumped: Any, **options: Any) -> BailianAppChatModel:
    model = load(
        dumped,
        allowed_objects=ALLOWED_CLASSES,
        valid_namespaces=["langchain_bailian_app"],
        secrets_map={"DASHSCOPE_API_KEY": "planted-key"},
        **options,
    )
    assert isinstance(model, BailianAppChatModel)
    return model


def dump_for(base_url: str | None) -> Any:
    return dumpd(BailianAppChatModel(app_id="app", api_key="planted-key", base_url=base_url))


def test_load_keeps_the_base_url_of_gateways_and_emulators(bailian: BailianEmulator) -> None:
    for base_url in (bailian.base_url, "https://gateway.example/api/v1"):
        assert load_model(dump_for(base_url)).base_url == base_url


def test_the_init_validator_in_security_md_limits_a_dump_to_known_hosts() -> None:
    page = (Path(__file__).parents[3] / "SECURITY.md").read_text("utf-8")
    (block,) = (block for block in extract_python_blocks(page) if "accept_known_hosts" in block)
    namespace: dict[str, Any] = {}
    exec(block, namespace)  # noqa: S102  # our own document
    accept_known_hosts = namespace["accept_known_hosts"]

    for known_url in (None, "https://gateway.example/api/v1"):
        loaded = load_model(dump_for(known_url), init_validator=accept_known_hosts)
        assert loaded.base_url == known_url
    dumped = dump_for("https://evil.example/api/v1")
    assert load_model(dumped).base_url == "https://evil.example/api/v1"  # a dump is configuration
    with pytest.raises(ValueError, match=r"unexpected host 'evil\.example'"):
        load_model(dumped, init_validator=accept_known_hosts)
    own_gateway = BailianAppChatModel(app_id="app", api_key="k", gateway="workspace", workspace="ws")
    with pytest.raises(ValueError, match="unexpected host None or gateway"):
        load_model(dumpd(own_gateway), init_validator=accept_known_hosts)


def test_a_dump_is_validated_like_arguments() -> None:
    for name, value in {"app_id": "../evil", "base_url": "http://evil.example/api/v1"}.items():
        dumped = dump_for("https://gateway.example/api/v1")
        dumped["kwargs"][name] = value
        with pytest.raises(ValueError, match="evil"):
            load_model(dumped)
