"""Tests of `BizParams` (variables and tokens) and of `workflow_file`."""

import copy
import json
import pickle
from typing import Any

import pytest
from langchain_core.load import dumpd, dumps
from pydantic import SecretStr

from langchain_bailian_app import BizParams, workflow_file
from tests.unit_tests.options.test_rag_options import load_dump

TOKEN = "planted-token"


def test_variables_of_a_workflow_are_sent_flat() -> None:
    values = {"city": "杭州", "file": {"url": "https://example.com/1.pdf"}, "nothing": 0}

    assert values == BizParams(**values).to_wire()


@pytest.mark.parametrize(
    "name", ["copy", "json", "schema", "to_wire", "lc_id", "model_config_", "omitted_tokens"]
)
def test_a_variable_may_have_any_name(name: str) -> None:
    assert {name: "x"} == BizParams(**{name: "x"}).to_wire()


@pytest.mark.parametrize("name", ["user_prompt_params", "user_defined_params", "user_defined_tokens"])
def test_at_most_ten_entries_of_each_kind_are_allowed(name: str) -> None:
    values = {str(n): {"user_token": "t"} for n in range(11)}

    with pytest.raises(ValueError, match=name):
        BizParams(**{name: values})
    del values["0"]
    assert {name: values} == BizParams(**{name: values}).to_wire()


@pytest.mark.parametrize(
    "token", [TOKEN, {"user_token": TOKEN}, SecretStr(TOKEN), {"user_token": SecretStr(TOKEN)}]
)
def test_a_token_may_be_written_in_several_ways(token: Any) -> None:
    options = BizParams(user_defined_tokens={"tool": token})

    assert options.to_wire() == {"user_defined_tokens": {"tool": {"user_token": TOKEN}}}


@pytest.mark.parametrize(
    "render",
    [
        repr,
        str,
        "{0}".format,
        "{0!r:}".format,
        lambda x: repr(x.model_dump()),
        lambda x: repr(x.model_dump(mode="json")),
        lambda x: x.model_dump_json(),
        lambda x: repr(dict(x)),
        lambda x: repr(dumpd(x)),
        dumps,
        lambda x: repr(x.lc_attributes),
        lambda x: repr(x.__dict__),
        lambda x: repr([*x.__rich_repr__()]),
    ],
)
def test_tokens_are_shown_nowhere(render: Any) -> None:
    options = BizParams(city="杭州", user_defined_tokens={"tool": TOKEN})

    assert TOKEN not in render(options)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(TOKEN, id="no dict"),
        pytest.param([TOKEN], id="a list"),
        pytest.param({"tool": [TOKEN]}, id="a list inside"),
        pytest.param({"tool": {"user_token": [TOKEN]}}, id="a list further inside"),
        pytest.param({"tool": {"user_token": {TOKEN: 1}}}, id="a dict too many"),
        pytest.param({str(n): TOKEN for n in range(11)}, id="too many"),
    ],
)
def test_tokens_are_not_shown_in_errors(values: Any) -> None:
    with pytest.raises(ValueError, match="user_defined_tokens") as caught:
        BizParams(user_defined_tokens=values)

    assert TOKEN not in str(caught.value)
    assert TOKEN not in repr(caught.value)


def test_tokens_are_not_pickled() -> None:
    with pytest.raises(TypeError, match="user_defined_tokens"):
        pickle.dumps(BizParams(user_defined_tokens={"tool": TOKEN}))


@pytest.mark.parametrize(
    "make_copy", [copy.copy, copy.deepcopy, lambda x: x.model_copy(), lambda x: x.model_copy(deep=True)]
)
def test_copies_keep_the_tokens(make_copy: Any) -> None:
    options = BizParams(city="杭州", user_defined_tokens={"tool": TOKEN})

    assert options.to_wire() == make_copy(options).to_wire()


def test_loading_warns_that_tokens_are_missing() -> None:
    options = BizParams(city="杭州", user_defined_tokens={"tool": TOKEN})
    dumped = dumpd(options)

    with pytest.warns(UserWarning, match="user_defined_tokens.*tool"):
        reloaded = load_dump(dumped)

    assert BizParams(city="杭州") == reloaded
    assert reloaded.to_wire() == {"city": "杭州"}


def test_without_tokens_none_are_sent() -> None:
    assert BizParams().to_wire() == {}
    assert BizParams(user_prompt_params={"a": 1}).to_wire() == {"user_prompt_params": {"a": 1}}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "https://e.com/%E5%B9%B4%E6%8A%A5.pdf?Signature=s",
            {"name": "年报.pdf", "type": "document", "mimeType": "application/pdf"},
        ),
        ("oss://b/a.png", {"name": "a.png", "type": "image", "mimeType": "image/png"}),
        ("http://e.com/a.mp3", {"name": "a.mp3", "type": "audio", "mimeType": "audio/mpeg"}),
        ("https://e.com/a.mp4", {"name": "a.mp4", "type": "video", "mimeType": "video/mp4"}),
        ("https://e.com/a", {"name": "a", "type": "document"}),
        ("https://e.com/", {"type": "document"}),
    ],
)
def test_the_type_of_a_workflow_file_is_read_from_its_url(url: str, expected: dict[str, str]) -> None:
    assert workflow_file(url) == {"url": url, "source": "localFile"} | expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            {"name": "a", "kind": "custom", "mime_type": "x/y", "source": "url"},
            {"name": "a", "type": "custom", "mimeType": "x/y", "source": "url"},
        ),
        ({"name": "a.mp3"}, {"name": "a.mp3", "type": "audio", "mimeType": "audio/mpeg"}),
        ({"mime_type": "image/webp"}, {"name": "x.pdf", "type": "image", "mimeType": "image/webp"}),
    ],
)
def test_arguments_take_precedence_over_the_url_of_a_workflow_file(
    arguments: dict[str, Any], expected: dict[str, str]
) -> None:
    url = "https://e.com/x.pdf"

    assert workflow_file(url, **arguments) == {"url": url, "source": "localFile"} | expected


INVALID_URLS = [
    "a.pdf",
    "/a.pdf",
    "file:///a.pdf",
    "ftp://e.com/a.pdf",
    "https:///a.pdf",
    "data:,x",
    "",
]


@pytest.mark.parametrize(
    ("url", "excerpt"),
    [
        *zip(INVALID_URLS, INVALID_URLS, strict=True),
        ("data:" + "x" * 99, "data:" + "x" * 55),
        ("ftp://h/a.pdf?Signature=planted", "ftp://h/a.pdf"),
    ],
)
def test_a_workflow_file_needs_a_url(url: str, excerpt: str) -> None:
    with pytest.raises(
        ValueError, match=f"^invalid `url`: expected an http, https or oss URL, got '{excerpt}'$"
    ):
        workflow_file(url)


def test_the_signature_of_a_file_is_sent_but_never_shown() -> None:
    url = "https://e.com/a.pdf?Signature=planted"
    params = BizParams(report=workflow_file(url), all=[workflow_file(url)])

    assert "planted" not in repr(params) + str(dumpd(params)) + str(pickle.dumps(params))
    assert copy.deepcopy(params).to_wire() == params.to_wire()
    assert params.to_wire()["all"][0]["url"] == url
    assert json.dumps(params.to_wire()).count("planted") == 2
