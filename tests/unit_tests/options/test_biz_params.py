"""Tests of `BizParams` (variables and tokens) and of `workflow_file`."""

import copy
import enum
import json
import math
import pickle
import warnings
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from langchain_core.load import dumpd, dumps
from pydantic import BaseModel, SecretStr, TypeAdapter

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


# -- values ----------------------------------------------------------------------


class Season(enum.StrEnum):
    SPRING = "春"


class Level(enum.IntEnum):
    HIGH = 3


class Color(enum.Enum):
    GREEN = "green"


class Pair(NamedTuple):
    a: int
    b: int


class Tea(BaseModel):
    name: str = "龙井"


def send(value: Any) -> Any:
    """Return a value as the service receives it, as a variable and inside other values."""
    (variable,) = json.loads(json.dumps(BizParams(x=value).to_wire(), allow_nan=False)).values()
    wire = BizParams(
        x={"y": [value]}, user_prompt_params={"y": value}, user_defined_params={"t": {"y": value}}
    ).to_wire()
    nested = json.loads(json.dumps(wire, allow_nan=False))
    assert nested["x"]["y"][0] == nested["user_prompt_params"]["y"] == variable
    assert nested["user_defined_params"]["t"]["y"] == variable
    return variable


@pytest.mark.parametrize(
    "value",
    [
        Decimal("1.50"),
        Decimal("-1E+5"),
        datetime(2025, 3, 1, 8, 30),  # noqa: DTZ001
        datetime(2025, 3, 1, 8, 30, tzinfo=UTC),
        date(2025, 3, 1),
        time(8, 30),
        UUID(int=7),
    ],
)
def test_other_scalars_are_sent_as_pydantic_writes_them(value: Any) -> None:
    sent = send(value)

    assert isinstance(sent, str)
    assert sent == TypeAdapter(Any).dump_python(value, mode="json")


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ([None], [None]),
        (True, True),
        (10**30, 10**30),
        (0.5, 0.5),
        ("", ""),
        ((1, "a"), [1, "a"]),
        (Pair(1, 2), [1, 2]),
        (Season.SPRING, "春"),
        (Level.HIGH, 3),
        ({1: {None: []}}, {"1": {"null": []}}),
        ({UUID(int=7): 1, date(2025, 3, 1): 2}, {str(UUID(int=7)): 1, "2025-03-01": 2}),
    ],
)
def test_values_that_json_has_are_sent(value: Any, sent: Any) -> None:
    assert send(value) == sent


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (Decimal("NaN"), "NaN"),
        (Decimal("-Infinity"), "-Infinity"),
        ({1, 2}, "set"),
        (b"x", "bytes"),
        (1j, "complex"),
        (object(), "object"),
        (Color.GREEN, "Color"),
        (timedelta(1), "timedelta"),
        (Path("x"), type(Path()).__name__),
        (Tea(), "Tea"),
        (SecretStr("planted"), "SecretStr"),
        (range(3), "range"),
        (len, "builtin_function_or_method"),
    ],
)
def test_any_other_value_is_rejected_with_the_name_of_its_variable(value: Any, problem: str) -> None:
    for variables, place in (
        ({"ok": 1, "city": value}, "city"),
        ({"city": [0, {"名": (value,)}]}, r"city\[1\].名\[0\]"),
        ({"user_prompt_params": {"city": value}}, "user_prompt_params.city"),
        ({"user_defined_params": {"tool": {"city": value}}}, "user_defined_params.tool.city"),
    ):
        with pytest.raises(
            ValueError, match=f"invalid `{place}`: expected .*, got {problem}"
        ) as caught:
            BizParams(**variables)
        assert "planted" not in str(caught.value)


@pytest.mark.parametrize("key", [(1, 2), b"x", math.nan, Color.GREEN])
def test_a_key_that_json_does_not_have_is_rejected(key: Any) -> None:
    with pytest.raises(ValueError, match="invalid key in `city`: expected"):
        BizParams(city={key: 1})


@pytest.mark.parametrize(
    "value",
    [
        {1: "a", "1": "b"},
        {"list": [{None: 1, "null": 2}]},
        {date(2025, 3, 1): 1, "2025-03-01": 2},
        {True: 1, "true": 2},
    ],
)
def test_keys_that_are_the_same_text_in_json_are_rejected(value: dict[Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"invalid keys in `city.*`: two of them are the same text"):
        BizParams(city=value)


def test_a_value_that_contains_itself_is_rejected() -> None:
    loop: list[Any] = []
    loop.append(loop)

    with pytest.raises(ValueError, match="invalid `city`: it contains itself or is nested too deeply"):
        BizParams(city=loop)


def test_later_changes_of_a_list_do_not_change_the_options() -> None:
    days = [1]
    params = BizParams(days=days)
    days.append(math.nan)  # type: ignore[arg-type]

    assert params.to_wire() == {"days": [1]}


class TestNumpy:
    """Scalars and arrays of numpy."""

    @pytest.mark.parametrize(
        ("make_value", "sent"),
        [
            (lambda np: np.float64(0.5), 0.5),
            (lambda np: np.float32(0.5), 0.5),
            (lambda np: np.longdouble(0.5), 0.5),
            (lambda np: np.int64(3), 3),
            (lambda np: np.bool_(True), True),  # noqa: FBT003
            (lambda np: np.str_("茶"), "茶"),
            (lambda np: np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
            (lambda np: np.array([0.5, 1], dtype=np.longdouble), [0.5, 1.0]),
            (lambda np: np.array(0.5, dtype=np.longdouble), 0.5),
            (lambda np: np.array(np.float64(0.5), dtype=object), 0.5),
            (lambda np: np.array(5), 5),
            (lambda np: np.array(["a", Decimal("1.5"), None], dtype=object), ["a", "1.5", None]),
            (lambda np: np.datetime64("2025-03-01"), "2025-03-01"),
            (lambda np: np.datetime64("2025-03-01T08:30"), "2025-03-01T08:30:00"),
            (lambda np: np.datetime64("2025-03-01T08:30", "ns"), "2025-03-01T08:30:00"),
            (lambda np: np.array(["2025-03-01"], dtype="datetime64[ns]"), ["2025-03-01T00:00:00"]),
        ],
    )
    def test_values_are_sent_as_those_of_python(self, make_value: Any, sent: Any) -> None:
        value = send(make_value(pytest.importorskip("numpy")))

        assert value == sent
        assert type(value) is type(sent)

    @pytest.mark.parametrize(
        ("make_value", "place", "problem"),
        [
            (lambda np: np.float32("nan"), "x", "nan"),
            (lambda np: np.float64("inf"), "x", "inf"),
            (lambda np: np.array([1, np.nan]), r"x\[1\]", "nan"),
            (lambda np: np.complex64(1), "x", "complex"),
            (lambda np: np.clongdouble(1), "x", "clongdouble"),
            (lambda np: np.bytes_(b"a"), "x", "bytes"),
            (lambda np: np.datetime64("NaT"), "x", "NaT"),
            (lambda np: np.array([["NaT"]], dtype="datetime64[ns]"), "x", "NaT"),
            (lambda np: np.datetime64("9999999-01-01"), "x", "datetime64"),
            (lambda np: np.timedelta64(5, "ns"), "x", "timedelta64"),
            (lambda np: np.array([(1, 2)], dtype=[("a", int), ("b", int)]), "x", "ndarray"),
            (lambda np: np.ma.array([1, 2], mask=[False, True]), "x", r"MaskedArray; .*\.filled"),
            (lambda np: np.ma.array([1, 2]), "x", r"MaskedArray; .*\.filled"),
            (lambda np: [np.ma.masked], r"x\[0\]", r"MaskedArray; .*\.filled"),
            (
                lambda np: np.array([None, np.ma.array([1], mask=True)], dtype=object),
                r"x\[1\]",
                r"MaskedArray; .*\.filled",
            ),
            (lambda np: np.dtype(int), "x", ""),
            (lambda np: np.random.default_rng(), "x", "Generator"),
        ],
    )
    def test_values_that_json_does_not_have_are_rejected(
        self, make_value: Any, place: str, problem: str
    ) -> None:
        value = make_value(pytest.importorskip("numpy"))

        with pytest.raises(ValueError, match=f"invalid `{place}`: expected .*, got .*{problem}"):
            BizParams(x=value)

    @pytest.mark.parametrize(
        ("text", "unit"),
        [
            ("2025-03-01T08:30:00.000001234", "ns"),
            ("2025-03-01T08:30:00.000001000", "ns"),
            ("1970-01-01T00:00:00.000001234567", "ps"),
            ("1970-01-01T00:00:00.000001230", "10ns"),
        ],
    )
    @pytest.mark.parametrize("in_array", [False, True])
    def test_nanoseconds_are_dropped_with_a_warning(
        self, text: str, unit: str, *, in_array: bool
    ) -> None:
        np = pytest.importorskip("numpy")
        value = np.datetime64(text, unit)
        expected = text[:26]
        values, sent = ([value, value], [expected] * 2) if in_array else (value, expected)
        values = np.array(values) if in_array else values

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert BizParams(x=values).to_wire() == {"x": sent}

        assert [(str(w.message)[:38], w.filename) for w in caught] == (
            [] if text.endswith("1000") else [("`x` has a time with nanoseconds, which", __file__)]
        )


def make_pandas_class(name: str, *bases: type, **attributes: Any) -> Any:
    """Return a class that looks like one of pandas, which is not installed for the tests."""
    return type(name, bases, {"__module__": "pandas._libs.stand_in", **attributes})


class TestPandas:
    """Objects of pandas."""

    def test_timestamps_are_sent_as_datetimes(self) -> None:
        timestamp_class = make_pandas_class(
            "Timestamp",
            datetime,
            nanosecond=0,
            to_pydatetime=lambda self, warn: datetime.combine(self, self.timetz()),
        )

        assert send(timestamp_class(2025, 3, 1, 8, tzinfo=UTC)) == "2025-03-01T08:00:00Z"

    def test_timestamps_that_are_not_datetimes_are_sent_too(self) -> None:
        moment = datetime(2025, 3, 1, 8, tzinfo=UTC)
        timestamp_class = make_pandas_class(
            "Timestamp",
            nanosecond=0,
            to_pydatetime=lambda _, warn: moment,
        )

        assert send(timestamp_class()) == "2025-03-01T08:00:00Z"

    def test_nanoseconds_are_dropped_with_a_warning(self) -> None:
        def to_pydatetime(_: Any, warn: bool) -> datetime:
            assert not warn  # this warning would point at this package
            return datetime(2025, 3, 1, 8, tzinfo=UTC)

        timestamp_class = make_pandas_class("Timestamp", nanosecond=7, to_pydatetime=to_pydatetime)

        with pytest.warns(UserWarning, match=r"`x\[0\]` has a time with nanoseconds") as caught:
            params = BizParams(x=[timestamp_class()])
        assert params.to_wire() == {"x": ["2025-03-01T08:00:00Z"]}
        assert [warning.filename for warning in caught] == [__file__]

    def test_a_timestamp_that_is_no_datetime_is_rejected(self) -> None:
        def to_pydatetime(_: Any, warn: bool) -> datetime:
            message = "year 12025 is out of range"
            raise ValueError(message)

        timestamp_class = make_pandas_class("Timestamp", to_pydatetime=to_pydatetime)

        with pytest.raises(ValueError, match=r"invalid `x`: expected .*, got Timestamp out of range"):
            BizParams(x=timestamp_class())

    @pytest.mark.parametrize(
        ("name", "bases", "hint"),
        [
            ("DataFrame", (), r"\.to_dict\(\"records\"\)"),
            ("Series", (), r"\.tolist\(\)"),
            ("Index", (), r"\.tolist\(\)"),
            ("NaTType", (datetime,), ""),
            ("NAType", (), ""),
            ("Timedelta", (timedelta,), ""),
        ],
    )
    def test_other_objects_are_rejected(self, name: str, bases: tuple[type, ...], hint: str) -> None:
        attributes = {"tolist": lambda _: [1], "to_dict": lambda _: {}}
        arguments = (2025, 3, 1) if datetime in bases else ()
        value = make_pandas_class(name, *bases, **attributes)(*arguments)

        with pytest.raises(ValueError, match=f"invalid `x`: expected .*, got {name}.*{hint}"):
            BizParams(x=value)

    def test_the_objects_of_pandas_itself_behave_like_these(self) -> None:
        pd = pytest.importorskip("pandas")

        assert send(pd.Timestamp("2025-03-01T08:00Z")) == "2025-03-01T08:00:00Z"
        with pytest.warns(UserWarning, match="`x` has a time with nanoseconds") as caught:
            BizParams(x=pd.Timestamp(1))
        assert len(caught) == 1
        for value in (pd.DataFrame(), pd.Series([1]), pd.Index([1]), pd.NaT, pd.NA, pd.Timedelta(1)):
            with pytest.raises(ValueError, match="invalid `x`: expected"):
                BizParams(x=value)
