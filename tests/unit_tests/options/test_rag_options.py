"""Tests of `RagOptions`, and of copies, pickles and dumps of `RagOptions` and `BizParams`."""

import copy
import json
import pickle
from typing import Any

import pytest
from langchain_core.load import dumpd, dumps, load
from pydantic import ValidationError

from langchain_bailian_app import BizParams, RagOptions


def load_dump(dumped: Any) -> Any:
    return load(
        dumped,
        allowed_objects=[RagOptions, BizParams],
        valid_namespaces=["langchain_bailian_app"],
    )


@pytest.mark.parametrize(
    "values",
    [
        {"pipeline_ids": ["kb"] * 6},
        {"file_ids": ["f"] * 101, "pipeline_ids": ["kb"]},
        {"session_file_ids": ["file_session_1"] * 11},
        {"session_file_ids": ["file_1"]},
        {"session_file_ids": ["file_session_1", "other"]},
        {"file_ids": ["f"]},
        {"file_ids": ["f"], "pipeline_ids": []},
        {"metadata_filter": {"year": 2025}},
    ],
)
def test_options_the_service_would_ignore_or_reject_are_errors(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        RagOptions(**values)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"pipeline_ids": ["kb"] * 5},
        {"pipeline_ids": ["kb"], "file_ids": ["f"] * 100},
        {"pipeline_ids": ["kb"], "metadata_filter": {"year": 2025}},
        {"session_file_ids": ["file_session_1"] * 10},
        {"tags": ["a", "b"]},
        {"structured_filter": {"price": 9}},
    ],
)
def test_values_within_the_limits_are_sent_unchanged(values: dict[str, Any]) -> None:
    assert values == RagOptions(**values).to_wire()


@pytest.mark.parametrize("name", ["pipeline_ids", "tags"])
def test_a_bare_string_is_a_list_of_one(name: str) -> None:
    assert {name: ["x"]} == RagOptions(**{name: "x"}).to_wire()


def test_the_error_names_the_option_that_is_missing() -> None:
    with pytest.raises(ValueError, match="`file_ids` takes effect only with `pipeline_ids`"):
        RagOptions(file_ids=["f"])


def test_an_unknown_key_is_passed_on_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="rerank"):
        options = RagOptions(pipeline_ids=["kb"], rerank=True)

    assert options.to_wire() == {"pipeline_ids": ["kb"], "rerank": True}


def test_unknown_keys_survive_the_dump_of_langchain() -> None:
    with pytest.warns(UserWarning, match="rerank"):
        options = RagOptions(rerank=True)
    with pytest.warns(UserWarning, match="rerank"):
        reloaded = load_dump(dumpd(options))

    assert reloaded.to_wire() == {"rerank": True}


# -- with `BizParams` --------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [RagOptions(tags=["a"]), BizParams(city="杭州")])
def test_options_cannot_be_changed(options: RagOptions | BizParams) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        options.tags = ["b"]


@pytest.mark.parametrize(
    "make_copy",
    [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],  # noqa: S301
)
@pytest.mark.parametrize("options", [RagOptions(pipeline_ids=["kb"]), BizParams(city="杭州")])
def test_options_without_secrets_can_be_copied_and_pickled(options: Any, make_copy: Any) -> None:
    assert options == make_copy(options)
    assert options.to_wire() == make_copy(options).to_wire()


@pytest.mark.parametrize(
    "options",
    [
        RagOptions(pipeline_ids=["kb"], metadata_filter={"year": 2025}),
        RagOptions(),
        BizParams(),
        BizParams(city="杭州", days=[1, 2], user_prompt_params={"a": 1}),
    ],
)
def test_options_survive_the_dump_of_langchain(options: Any) -> None:
    dumped = json.loads(dumps(options))

    assert dumpd(options) == dumped
    assert options == load_dump(dumped)
