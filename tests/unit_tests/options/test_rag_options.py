"""Tests of `RagOptions`, and of copies, pickles and dumps of `RagOptions` and `BizParams`."""

import copy
import json
import pickle
import threading
import warnings
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain_core.load import dumpd, dumps, load
from pydantic import ValidationError

from langchain_bailian_app import BailianAppChatModel, BailianRetriever, BizParams, RagOptions


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
        {"session_file_ids": ["doc_1"]},
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


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("pipeline_id", "pipeline_ids"),
        ("pipelines", "pipeline_ids"),
        ("pipelineIds", "pipeline_ids"),
        ("tags_", "tags"),
        ("pipline_ids", "pipeline_ids"),
        ("file_id", "file_ids"),
        ("tag", "tags"),
        ("Tags", "tags"),
        ("metadata_filters", "metadata_filter"),
        ("metadatafilter", "metadata_filter"),
        ("structured-filter", "structured_filter"),
        ("session_file_id", "session_file_ids"),
        ("session_files", "session_file_ids"),
    ],
)
def test_a_near_miss_is_an_error_with_a_suggestion(name: str, suggestion: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown option `{name}`; did you mean `{suggestion}`\?"):
        RagOptions(**{name: ["x"]})


@pytest.mark.parametrize(
    "name",
    [
        "prompt_strategy",
        "enable_citation",
        "rewrite",
        "metadata",
        "metadata_filter_mode",
        "session_file_names",
        "pipeline_weights",
        "image_ids",
        "x",
    ],
)
def test_a_name_that_may_be_a_new_option_is_passed_on(name: str) -> None:
    with pytest.warns(UserWarning, match=name):
        options = RagOptions(**{name: 1})

    assert options.to_wire() == {name: 1}


@pytest.mark.parametrize(
    "create",
    [
        lambda: RagOptions(tool=True),
        lambda: RagOptions.model_validate({"tool": True}),
        lambda: BailianRetriever(app_id="app", rag_options={"tool": True}),
        lambda: BailianAppChatModel(app_id="app", rag_options={"tool": True}),
        lambda: BizParams(user_defined_tokens={"tool": None}),
    ],
)
def test_a_warning_points_at_the_line_of_the_caller(create: Any) -> None:
    with pytest.warns(UserWarning, match="tool") as caught:
        create()

    assert [(warning.filename, warning.lineno) for warning in caught] == [
        (__file__, create.__code__.co_firstlineno)
    ]


def test_a_warning_in_a_thread_without_a_caller_points_at_this_package() -> None:
    thread = threading.Thread(target=RagOptions, kwargs={"rerank": True})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread.start()
        thread.join()

    assert [Path(warning.filename).parent.name for warning in caught] == ["options"]


@pytest.mark.parametrize("name", ["pipeline_ids", "file_ids", "session_file_ids"])
def test_white_space_around_ids_is_removed(name: str) -> None:
    values: dict[str, Any] = {"pipeline_ids": ["kb"], name: [" file_session_1\n"]}

    assert RagOptions(**values).to_wire() == values | {name: ["file_session_1"]}
    with pytest.raises(ValueError, match=name):
        RagOptions(**values | {name: [" "]})


def test_values_of_filters_are_converted_like_variables() -> None:
    options = RagOptions(structured_filter={"price": Decimal("1.5"), "day": date(2025, 3, 1)})

    assert options.to_wire() == {"structured_filter": {"price": "1.5", "day": "2025-03-01"}}
    with pytest.raises(ValueError, match=r"invalid `metadata_filter\.year`: .* got nan"):
        RagOptions(pipeline_ids=["kb"], metadata_filter={"year": float("nan")})


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
