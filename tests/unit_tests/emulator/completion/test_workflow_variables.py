"""Templates and variables of the emulator's workflows."""

import pytest

from langchain_bailian_app.emulator._completion.workflow_variables import check_variables, fill_template
from langchain_bailian_app.emulator._http.errors import RequestRefused


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("去${city}", "去杭州"),
        ("${ city }${city}", "杭州杭州"),
        ("${days}天", "3天"),
        ("${yes}", "true"),
        ("${tags}", '["山", 1]'),
        ("${file}", '{"url": "http://x/y.pdf"}'),
        ("${sys.query}", "问"),
        ("${nobody} ${", "${nobody} ${"),
    ],
)
def test_a_template_inserts_text_as_it_is_and_other_values_as_json(template: str, text: str) -> None:
    values = {
        "city": "杭州",
        "days": 3,
        "yes": True,
        "tags": ["山", 1],
        "file": {"url": "http://x/y.pdf"},
        "sys.query": "问",
    }

    assert fill_template(template, values) == text


def test_inserted_values_are_not_expanded_again() -> None:
    assert fill_template("${a}", {"a": "${b}", "b": "c"}) == "${b}"


@pytest.mark.parametrize(
    ("kind", "value", "is_valid"),
    [
        (str, "x", True),
        (str, "", True),
        (str, 1, False),
        (str, None, False),
        (int, 1, True),
        (int, True, False),
        (int, 1.5, False),
        (float, 1.5, True),
        (float, 1, True),
        (float, True, False),
        (float, "1", False),
        (bool, False, True),
        (bool, 0, False),
        (list, [{"url": "u"}], True),
        (list, {"url": "u"}, False),
        (dict, {"url": "u"}, True),
    ],
)
def test_variables_are_checked_against_their_declared_types(
    kind: type, value: object, is_valid: bool
) -> None:
    if is_valid:
        check_variables({"v": kind}, {"v": value})
    else:
        with pytest.raises(RequestRefused, match=r"InvalidParameter: .*\bv\b"):
            check_variables({"v": kind}, {"v": value})


def test_a_missing_variable_is_named_and_an_undeclared_one_is_ignored() -> None:
    check_variables({}, {"other": 1})
    with pytest.raises(RequestRefused, match="Required variable city is missing"):
        check_variables({"city": str}, {"other": 1})
