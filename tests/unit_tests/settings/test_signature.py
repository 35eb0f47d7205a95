"""Tests of the signatures of public classes, as `help()` and IPython show them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest

from langchain_bailian_app import BailianAppChatModel, BailianAppTool, BailianRetriever

if TYPE_CHECKING:
    from pydantic import BaseModel


@pytest.mark.parametrize(
    ("cls", "first"),
    [(BailianAppChatModel, "app_id"), (BailianRetriever, "app_id"), (BailianAppTool, "model")],
)
def test_a_signature_is_readable_and_begins_with_the_main_field(
    cls: type[BaseModel], first: str
) -> None:
    signature = inspect.signature(cls)

    assert next(iter(signature.parameters)) == first
    assert set(signature.parameters) == set(cls.model_fields)
    for parameter in signature.parameters.values():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert "Annotated" not in str(parameter)
        assert "FieldInfo" not in str(parameter)


def test_a_signature_shows_plain_types_and_defaults() -> None:
    parameters = inspect.signature(BailianAppChatModel).parameters

    assert str(parameters["workspace"]) == "workspace: str | None = None"
    assert str(parameters["timeout"]) == "timeout: float = 300.0"
    assert str(parameters["stop"]) == "stop: list[str] | None = None"
    assert str(parameters["app_id"]) == "app_id: str = <factory>"


def test_instances_have_no_signature() -> None:
    model = BailianAppChatModel(app_id="app", api_key="sk-test")

    assert not hasattr(model, "__signature__")


def test_a_subclass_has_a_signature_of_its_own() -> None:
    class Assistant(BailianAppChatModel):
        greeting: str = "你好"

    assert "greeting" in inspect.signature(Assistant).parameters
