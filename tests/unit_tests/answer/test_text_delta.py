"""Tests for the new text in each frame, and for cutting at `stop` sequences."""

import random
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_bailian_app._answer.text_delta import StopFilter, TextDeltaReader
from tests.fixtures import split_at

SAME_USAGE = {"models": [{"output_tokens": 1}]}


def read_deltas(frames: Iterable[tuple[str, Any]], *, stop_frame: str | None = "") -> list[str]:
    """Return the text that each frame adds; the usage of the stop frame is new."""
    reader = TextDeltaReader()
    deltas = [reader.feed(text, usage=usage) for text, usage in frames]
    if stop_frame is not None:
        deltas.append(reader.feed(stop_frame, usage={"models": "last"}, last=True))
    return [*deltas, reader.end()]


def changing_usage(texts: Iterable[str]) -> list[tuple[str, Any]]:
    return [(text, {"models": [{"output_tokens": n}]}) for n, text in enumerate(texts)]


def no_usage(texts: Iterable[str]) -> list[tuple[str, Any]]:
    return [(text, None) for text in texts]


def constant_usage(texts: Iterable[str]) -> list[tuple[str, Any]]:
    return [(text, SAME_USAGE) for text in texts]


# -- the rule, case by case --------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [changing_usage, no_usage])
@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["土豆", "土豆", "土豆"], "土豆土豆土豆"),
        (["1", "1.", " 第"], "11. 第"),
        (["哈", "哈哈", "呵"], "哈哈哈呵"),
        (["a", "b"], "ab"),
        (["a", "ab", "ab"], "aabab"),
        (["a", "ab", "a"], "aaba"),
        (["一二三四五六七八", "一二三"], "一二三四五六七八一二三"),
        (["你好", "世界", "世界和平", "世界和平啊"], "你好世界世界和平世界和平啊"),
        (["茶"], "茶"),
        ([], ""),
    ],
)
def test_increments_are_added_up(texts: list[str], expected: str, frames: Any) -> None:
    assert expected == "".join(read_deltas(frames(texts)))


@pytest.mark.parametrize("frames", [changing_usage, no_usage, constant_usage])
@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["哈", "哈哈", "哈哈哈"], "哈哈哈"),
        (["1", "1.", "1. 第"], "1. 第"),
        (["一二三四五六七八", "一二三四五六七八九"], "一二三四五六七八九"),
        (["a", "ab", "abc", "abc", "abcd"], "abcd"),
        (["茶", "茶馆开门", "茶馆开门了", "茶馆开门了。"], "茶馆开门了。"),
    ],
)
def test_repetitions_are_left_out(texts: list[str], expected: str, frames: Any) -> None:
    assert expected == "".join(read_deltas(frames(texts)))


def test_a_prefix_of_eight_characters_is_a_repetition_but_one_of_seven_is_not() -> None:
    assert "".join(read_deltas(changing_usage(["1234567", "12345678"]))) == "1234567" + "12345678"
    assert "".join(read_deltas(changing_usage(["12345678", "123456789"]))) == "123456789"


def test_an_equal_text_with_the_same_usage_adds_nothing() -> None:
    assert read_deltas(constant_usage(["茶", "茶"])) == ["茶", "", "", ""]


def test_an_equal_text_with_the_same_usage_does_not_decide_the_mode() -> None:
    assert "".join(read_deltas(constant_usage(["哈", "哈", "哈哈", "哈哈", "哈哈哈"]))) == "哈哈哈"
    assert "".join(read_deltas([("茶", SAME_USAGE), ("茶", SAME_USAGE), ("1", None)])) == "茶1"


@pytest.mark.parametrize("empty", [{}, {"models": []}, {"models": None}])
def test_an_empty_usage_is_not_an_unchanged_usage(empty: dict[str, Any]) -> None:
    assert "".join(read_deltas([("茶", empty), ("茶", empty)])) == "茶茶"


def test_usage_is_compared_with_that_of_the_text_frame_before() -> None:
    frames = [("茶", {"n": 1}), ("", {"n": 2}), ("茶", {"n": 2})]

    assert "".join(read_deltas(frames)) == "茶茶"


def test_a_stream_that_ends_undecided_is_incremental() -> None:
    assert read_deltas(changing_usage(["哈", "哈哈"])) == ["哈", "", "哈哈", ""]
    assert read_deltas(changing_usage(["哈", "哈哈"]), stop_frame=None) == ["哈", "", "哈哈"]


@pytest.mark.parametrize(
    ("texts", "stop_frame", "expected"),
    [
        (["你"], "你好", "你好"),
        (["你", "你好"], "你好啊", "你好啊"),
        (["一二三四五六七八", "一二三四五六七八九"], "一二三四五六七八九十", "一二三四五六七八九十"),
        (["你", "好"], "你好", "你好你好"),
        (["你"], "好", "你好"),
        ([], "你好", "你好"),
    ],
)
def test_a_stop_frame_that_repeats_and_extends_all_before_it_means_cumulative(
    texts: list[str], stop_frame: str, expected: str
) -> None:
    assert expected == "".join(read_deltas(changing_usage(texts), stop_frame=stop_frame))


def test_a_stop_frame_that_repeats_a_cumulative_text_adds_nothing() -> None:
    texts = ["茶馆", "茶馆九点", "茶馆九点开门"]

    assert "".join(read_deltas(changing_usage(texts), stop_frame="茶馆九点开门")) == "茶馆九点开门"


def test_the_first_frame_is_never_held_back() -> None:
    assert TextDeltaReader().feed("茶") == "茶"


def test_held_back_text_is_emitted_with_the_frame_that_decides() -> None:
    assert read_deltas(changing_usage(["1", "1.", " 第", "一"])) == ["1", "", "1. 第", "一", "", ""]
    assert read_deltas(changing_usage(["哈", "哈哈", "哈哈哈", "哈哈哈哈"])) == [
        "哈",
        "",
        "哈哈",
        "哈",
        "",
        "",
    ]


def test_the_mode_does_not_change_once_decided() -> None:
    incremental = ["a", "b", "bc", "bcdefghijk", "bcdefghijklm"]
    assert "".join(incremental) == "".join(read_deltas(changing_usage(incremental)))

    incremental = ["a", "b", "b", "b"]
    assert "".join(read_deltas(constant_usage(incremental))) == "abbb"


CUMULATIVE = ["一二三四五六七八", "一二三四五六七八九"]


@pytest.mark.parametrize(
    ("next_text", "delta"),
    [
        pytest.param("一二三四五六七八九", "", id="again"),
        pytest.param("一二三四五六七八九十", "十", id="grown"),
        pytest.param("壹二三四五六七八九十", "十", id="grown, and changed before"),
        pytest.param("一二三四五六七八久", "", id="last character changed"),
        pytest.param("一二三四五六七八", "", id="trimmed"),
    ],
)
def test_in_cumulative_mode_the_delta_is_the_text_after_the_previous_text(
    next_text: str, delta: str
) -> None:
    assert delta == read_deltas(changing_usage([*CUMULATIVE, next_text]))[2]


def test_a_cumulative_text_that_is_trimmed_at_the_end_is_not_repeated() -> None:
    texts = ["茶馆上午九点", "茶馆上午九点开门", "茶馆上午九点开门。\n"]

    assert texts[-1] == "".join(read_deltas(changing_usage(texts), stop_frame=texts[-1].strip()))


# -- properties --------------------------------------------------------------------------------------

HOSTILE = st.text("哈1. ", min_size=1, max_size=4)


@given(
    st.lists(HOSTILE, min_size=3, max_size=12),
    st.sampled_from([changing_usage, no_usage, constant_usage]),
)
def test_a_text_that_grows_three_times_is_read_correctly(pieces: list[str], frames: Any) -> None:
    texts = list(accumulate(pieces))

    assert texts[-1] == "".join(read_deltas(frames(texts)))


@given(st.text("哈1. 茶", min_size=8, max_size=20), st.lists(HOSTILE, min_size=1, max_size=12))
def test_a_growing_text_with_a_first_frame_of_eight_characters_is_read_correctly(
    first: str, pieces: list[str]
) -> None:
    texts = list(accumulate([first, *pieces]))

    assert texts[-1] == "".join(read_deltas(changing_usage(texts)))


@given(st.lists(HOSTILE, min_size=2, max_size=4))
def test_a_short_text_repeated_by_its_stop_frame_is_read_correctly(pieces: list[str]) -> None:
    *texts, stop_frame = accumulate(pieces)

    assert stop_frame == "".join(read_deltas(changing_usage(texts), stop_frame=stop_frame))


@given(st.text(min_size=2, max_size=60), st.data())
def test_increments_that_never_extend_the_previous_one_are_read_correctly(
    text: str, data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(1, len(text) - 1), min_size=1, max_size=20, unique=True))
    pieces = split_at(text, cuts)
    if any(following.startswith(previous) for previous, following in pairwise(pieces)):
        pieces = ["\0", *pieces]  # no other text begins with it, so the mode is decided at once

    assert "".join(pieces) == "".join(read_deltas(changing_usage(pieces)))


@given(st.lists(HOSTILE, min_size=1, max_size=12))
def test_increments_after_a_frame_that_none_of_them_extends_are_read_correctly(
    pieces: list[str],
) -> None:
    assert "答" + "".join(pieces) == "".join(read_deltas(changing_usage(["答", *pieces])))


def compute_expected_text(frames: Sequence[tuple[str, Any]], stop_frame: str) -> str:
    """Return the text according to the rule, computed from all frames at once."""
    texts = [(text, usage) for text, usage in [*frames, (stop_frame, {"models": "last"})] if text]
    emitted = [texts[0][0]] if texts else []
    growths = 0
    for index, ((previous, previous_usage), (text, usage)) in enumerate(pairwise(texts), 1):
        is_stop = bool(stop_frame) and index == len(texts) - 1
        if text == previous and usage is not None and usage == previous_usage:
            continue
        if text == previous or not text.startswith(previous):
            return "".join((*emitted, *(later for later, _ in texts[index:])))
        growths += 1
        if len(previous) >= 8 or growths == 2 or is_stop:
            full_text = text
            for later, _ in texts[index + 1 :]:
                full_text += later[len(full_text) :]
            return full_text
        emitted.append(text)
    return "".join(emitted)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["+", "="]), st.text("哈1", min_size=1, max_size=3), st.integers(0, 1)
        ),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
)
def test_growing_and_repeated_texts_are_read_according_to_the_rule(
    steps: list[tuple[str, str, int]], stop_repeats: bool
) -> None:
    frames: list[tuple[str, Any]] = []
    text = ""
    for kind, piece, usage_changed in steps:
        text = text if kind == "=" and text else text + piece
        frames.append((text, {"n": 1 + len(frames) if usage_changed else 1}))
    stop_frame = text + "。" if stop_repeats else ""

    deltas = read_deltas(frames, stop_frame=stop_frame)

    assert compute_expected_text(frames, stop_frame) == "".join(deltas)


USAGE = st.fixed_dictionaries({"n": st.integers(1, 3)}) | st.none()


@given(st.lists(st.tuples(HOSTILE, USAGE), min_size=1, max_size=8))
def test_any_texts_are_read_according_to_the_rule(
    frames: list[tuple[str, dict[str, int] | None]],
) -> None:
    assert compute_expected_text(frames, "") == "".join(read_deltas(frames))


def test_fewer_than_one_in_five_hundred_streams_of_hostile_increments_is_misread() -> None:
    rng = random.Random(7)
    wrong = 0
    for _ in range(4000):
        text = "".join(rng.choices("1. -*#哈第一", k=rng.randint(4, 40)))
        cuts = [position for position in range(1, len(text)) if rng.random() < 0.5] or [1]
        wrong += text != "".join(read_deltas(changing_usage(split_at(text, cuts))))

    assert wrong < 4000 / 500


# -- halves of surrogate pairs -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param(["茶\ud83c", "\udf75！"], "茶🍵！", id="increments"),
        pytest.param(["\ud83c", "\udf75"], "🍵", id="nothing but halves"),
        pytest.param(["一", "二\ud83c", "\udf75", "\ud83c", "\udf75三"], "一二🍵🍵三", id="twice"),
        pytest.param(
            ["一二三四五六七八", "一二三四五六七八\ud83c", "一二三四五六七八🍵九"],
            "一二三四五六七八🍵九",
            id="cumulative",
        ),
        pytest.param(["哈", "哈哈\ud83c", "哈哈🍵"], "哈哈🍵", id="cumulative, in doubt"),
        pytest.param(
            ["一二三四五六七八\ud83c", "一二三四五六七八🍵九"],
            "一二三四五六七八🍵九",
            id="cumulative, in the first frame",
        ),
        pytest.param(["茶\ud83c"], "茶\ufffd", id="never completed"),
        pytest.param(["茶\ud83c", "馆"], "茶\ufffd馆", id="not completed by the next"),
        pytest.param(["\udf75", "茶"], "\ufffd茶", id="second half alone"),
    ],
)
def test_surrogate_halves_split_across_frames_are_joined(texts: list[str], expected: str) -> None:
    assert expected == "".join(read_deltas(changing_usage(texts)))


@given(st.text(st.sampled_from("茶🍵😀a"), min_size=1, max_size=12), st.data())
def test_text_cut_inside_its_characters_comes_out_whole(text: str, data: st.DataObject) -> None:
    units = text.encode("utf-16-le")
    cuts = data.draw(st.lists(st.integers(1, len(units) // 2), max_size=8, unique=True))
    pieces = [
        piece.decode("utf-16-le", "surrogatepass")
        for piece in split_at(units, [2 * cut for cut in cuts])
        if piece
    ]

    deltas = read_deltas(changing_usage(["答", *pieces]))

    assert "答" + text == "".join(deltas)
    assert all(piece.encode() is not None for piece in deltas)


# -- stop sequences ----------------------------------------------------------------------------------


def apply_stop(stop: list[str], pieces: Iterable[str]) -> tuple[str, bool]:
    stop_filter = StopFilter(stop)
    emitted = ""
    for piece in pieces:
        emitted += stop_filter.feed(piece)
        if stop_filter.hit:
            return emitted, True
    return emitted + stop_filter.end(), stop_filter.hit


def cut_before_first_stop(text: str, stop: list[str]) -> tuple[str, bool]:
    positions = [position for sequence in stop if (position := text.find(sequence)) >= 0]
    return (text[: min(positions)], True) if positions else (text, False)


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("茶馆。再见", ["。"], ("茶馆", True)),
        ("茶馆。再见", ["！"], ("茶馆。再见", False)),
        ("茶END馆", ["END"], ("茶", True)),
        ("EENEND", ["END"], ("EEN", True)),
        ("茶EN", ["END"], ("茶EN", False)),
        ("abcd", ["bc", "abc"], ("", True)),
        ("xabce", ["bc", "abcd"], ("xa", True)),
        ("xabcd", ["bc", "abcd"], ("x", True)),
        ("xabc", ["bc", "abcd"], ("xa", True)),
        ("a.b*c", [".*"], ("a.b*c", False)),
        ("a.*c", [".*"], ("a", True)),
    ],
)
def test_a_text_is_cut_before_the_first_stop_sequence(
    text: str, stop: list[str], expected: tuple[str, bool]
) -> None:
    assert expected == apply_stop(stop, [text])
    assert expected == apply_stop(stop, text)


@given(
    st.text("abc", max_size=24),
    st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=4),
    st.data(),
)
def test_a_stop_sequence_cuts_alike_wherever_the_text_is_cut(
    text: str, stop: list[str], data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8))

    assert cut_before_first_stop(text, stop) == apply_stop(stop, split_at(text, cuts))


def test_only_the_beginning_of_a_stop_sequence_is_held_back() -> None:
    stop_filter = StopFilter(["END"])

    assert stop_filter.feed("茶E") == "茶"
    assert stop_filter.feed("x") == "Ex"
    assert stop_filter.feed("EN") == ""
    assert stop_filter.end() == "EN"


def test_a_stop_sequence_that_is_a_prefix_of_a_longer_one_cuts_at_once() -> None:
    stop_filter = StopFilter(["ab", "abc"])

    assert stop_filter.feed("xab") == "x"
    assert stop_filter.hit


def test_text_emitted_from_a_misread_stream_is_not_repeated() -> None:
    frames = ["一二三四五六七八", "一二三四五六七八九", "另一段", "一二三四五六七八九另一段十"]

    assert read_deltas(changing_usage(frames)) == ["一二三四五六七八", "九", "另一段", "十", "", ""]


@pytest.mark.parametrize(
    ("frames", "last", "expected"),
    [
        (["一二三四", "五六七八"], "一二三四五六七八九", ["一二三四", "五六七八", "九", ""]),
        (["一二三四", "五六七八"], "一二三四五六七八", ["一二三四", "五六七八", "", ""]),
        (["一二", "三四"], "一二三四", ["一二", "三四", "一二三四", ""]),
        (["一二三四五六七八"], "一二三四五六七八", ["一二三四五六七八", "", ""]),
        (["一二三"], "一二三", ["一二三", "一二三", ""]),
    ],
)
def test_a_last_frame_that_repeats_a_long_enough_text_adds_only_the_missing_part(
    frames: list[str], last: str, expected: list[str]
) -> None:
    assert read_deltas(changing_usage(frames), stop_frame=last) == expected
