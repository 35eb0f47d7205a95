"""Tests of the validation of values that are sent as JSON."""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum
from typing import Any

import pytest

from langchain_bailian_app._request.json_values import check_json


class Level(IntEnum):
    LOW = 1


CIRCULAR: list[Any] = []
CIRCULAR.append(CIRCULAR)


@pytest.mark.parametrize(
    "value",
    [None, {}, [], (1, 2), {"a": [1, 1.5, True, None, "中文😀"], 1: {None: 2}}, Level.LOW, 10**30],
)
def test_values_that_json_can_represent_are_accepted(value: Any) -> None:
    check_json("biz_params", value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"a": {"b": [1, Decimal("2.5")]}}, "got Decimal at 'a.b.1'"),
        ({"a": float("nan")}, "got nan at 'a'"),
        ([float("-inf")], "got -inf at '0'"),
        ({"a": b"planted"}, "got bytes at 'a'"),
        ({"a": {"planted"}}, "got set at 'a'"),
        ({"a": "planted\ud83d"}, "got text with half of a surrogate pair at 'a'"),
        ({"a": {"b\udc00": 1}}, "got a key with half of a surrogate pair at 'a'"),
        ({"a": {(1,): 1}}, "got a key of type tuple at 'a'"),
        (CIRCULAR, "got a value that contains itself or is nested too deeply"),
        (object(), "got object"),
    ],
)
def test_other_values_are_rejected_with_their_place_but_not_shown(value: Any, problem: str) -> None:
    with pytest.raises(ValueError, match="invalid `biz_params`: expected values that JSON") as caught:
        check_json("biz_params", value)

    assert str(caught.value).endswith(problem)
    assert "planted" not in str(caught.value)
