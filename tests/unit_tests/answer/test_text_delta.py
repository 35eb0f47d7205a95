"""What is new in each text frame, and where a `stop` sequence cuts."""

import random
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_bailian_app._answer.text_delta import StopFilter, TextChannel
from tests.fixtures import pieces_of

SAME = {"models": [{"output_tokens": 1}]}


def channel(frames: Iterable[tuple[str, Any]], *, stop_frame: str | None = "") -> list[str]:
    """Return what each frame adds; the usage of the stop frame is new."""
    text_channel = TextChannel()
    added = [text_channel.feed(text, usage=usage) for text, usage in frames]
    if stop_frame is not None:
        added.append(text_channel.feed(stop_frame, usage={"models": "last"}, last=True))
    return [*added, text_channel.end()]


def moving(texts: Iterable[str]) -> list[tuple[str, Any]]:
    return [(text, {"models": [{"output_tokens": n}]}) for n, text in enumerate(texts)]


def without_usage(texts: Iterable[str]) -> list[tuple[str, Any]]:
    return [(text, None) for text in texts]


def standing(texts: Iterable[str]) -> list[tuple[str, Any]]:
    return [(text, SAME) for text in texts]


# -- the rule, case by case --------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [moving, without_usage])
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
    assert expected == "".join(channel(frames(texts)))


@pytest.mark.parametrize("frames", [moving, without_usage, standing])
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
    assert expected == "".join(channel(frames(texts)))


def test_seven_characters_may_begin_alike_by_chance_eight_may_not() -> None:
    assert "".join(channel(moving(["1234567", "12345678"]))) == "1234567" + "12345678"
    assert "".join(channel(moving(["12345678", "123456789"]))) == "123456789"


def test_an_equal_text_with_the_same_usage_brings_nothing() -> None:
    assert channel(standing(["茶", "茶"])) == ["茶", "", "", ""]


def test_an_equal_text_with_the_same_usage_settles_nothing() -> None:
    assert "".join(channel(standing(["哈", "哈", "哈哈", "哈哈", "哈哈哈"]))) == "哈哈哈"
    assert "".join(channel([("茶", SAME), ("茶", SAME), ("1", None)])) == "茶1"


@pytest.mark.parametrize("empty", [{}, {"models": []}, {"models": None}])
def test_an_empty_usage_does_not_say_that_nothing_moved(empty: dict[str, Any]) -> None:
    assert "".join(channel([("茶", empty), ("茶", empty)])) == "茶茶"


def test_usage_is_compared_with_that_of_the_text_frame_before() -> None:
    frames = [("茶", {"n": 1}), ("", {"n": 2}), ("茶", {"n": 2})]

    assert "".join(channel(frames)) == "茶茶"


def test_a_stream_that_ends_in_doubt_is_incremental() -> None:
    assert channel(moving(["哈", "哈哈"])) == ["哈", "", "哈哈", ""]
    assert channel(moving(["哈", "哈哈"]), stop_frame=None) == ["哈", "", "哈哈"]


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
def test_a_stop_frame_that_repeats_and_extends_all_before_it_settles_cumulative(
    texts: list[str], stop_frame: str, expected: str
) -> None:
    assert expected == "".join(channel(moving(texts), stop_frame=stop_frame))


def test_a_stop_frame_that_repeats_a_cumulative_text_brings_nothing() -> None:
    texts = ["茶馆", "茶馆九点", "茶馆九点开门"]

    assert "".join(channel(moving(texts), stop_frame="茶馆九点开门")) == "茶馆九点开门"


def test_the_first_frame_is_never_held_back() -> None:
    assert TextChannel().feed("茶") == "茶"


def test_what_was_held_back_comes_with_the_frame_that_settles() -> None:
    assert channel(moving(["1", "1.", " 第", "一"])) == ["1", "", "1. 第", "一", "", ""]
    assert channel(moving(["哈", "哈哈", "哈哈哈", "哈哈哈哈"])) == ["哈", "", "哈哈", "哈", "", ""]


def test_what_is_settled_stays() -> None:
    incremental = ["a", "b", "bc", "bcdefghijk", "bcdefghijklm"]
    assert "".join(incremental) == "".join(channel(moving(incremental)))

    incremental = ["a", "b", "b", "b"]
    assert "".join(channel(standing(incremental))) == "abbb"


CUMULATIVE = ["一二三四五六七八", "一二三四五六七八九"]


@pytest.mark.parametrize(
    ("next_text", "added"),
    [
        pytest.param("一二三四五六七八九", "", id="again"),
        pytest.param("一二三四五六七八九十", "十", id="grown"),
        pytest.param("壹二三四五六七八九十", "十", id="grown, and changed before"),
        pytest.param("一二三四五六七八久", "", id="last character changed"),
        pytest.param("一二三四五六七八", "", id="trimmed"),
    ],
)
def test_once_cumulative_the_new_text_is_what_is_behind_the_text_before(
    next_text: str, added: str
) -> None:
    assert added == channel(moving([*CUMULATIVE, next_text]))[2]


def test_a_cumulative_text_that_is_trimmed_at_the_end_is_not_said_twice() -> None:
    texts = ["茶馆上午九点", "茶馆上午九点开门", "茶馆上午九点开门。\n"]

    assert texts[-1] == "".join(channel(moving(texts), stop_frame=texts[-1].strip()))


# -- properties --------------------------------------------------------------------------------------

HOSTILE = st.text("哈1. ", min_size=1, max_size=4)


@given(st.lists(HOSTILE, min_size=3, max_size=12), st.sampled_from([moving, without_usage, standing]))
def test_a_text_that_grows_three_times_is_always_right(pieces: list[str], frames: Any) -> None:
    texts = list(accumulate(pieces))

    assert texts[-1] == "".join(channel(frames(texts)))


@given(st.text("哈1. 茶", min_size=8, max_size=20), st.lists(HOSTILE, min_size=1, max_size=12))
def test_a_text_that_begins_with_a_phrase_and_grows_is_always_right(
    first: str, pieces: list[str]
) -> None:
    texts = list(accumulate([first, *pieces]))

    assert texts[-1] == "".join(channel(moving(texts)))


@given(st.lists(HOSTILE, min_size=2, max_size=4))
def test_a_short_text_whose_stop_frame_has_all_of_it_is_always_right(pieces: list[str]) -> None:
    *texts, stop_frame = accumulate(pieces)

    assert stop_frame == "".join(channel(moving(texts), stop_frame=stop_frame))


@given(st.text(min_size=2, max_size=60), st.data())
def test_increments_of_which_none_begins_with_the_one_before_are_always_right(
    text: str, data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(1, len(text) - 1), min_size=1, max_size=20, unique=True))
    pieces = pieces_of(text, cuts)
    if any(after.startswith(before) for before, after in pairwise(pieces)):
        pieces = ["\0", *pieces]  # nothing begins with it: the stream is settled at once

    assert "".join(pieces) == "".join(channel(moving(pieces)))


@given(st.lists(HOSTILE, min_size=1, max_size=12))
def test_increments_behind_a_frame_that_nothing_begins_with_are_always_right(
    pieces: list[str],
) -> None:
    assert "答" + "".join(pieces) == "".join(channel(moving(["答", *pieces])))


def by_the_rule(frames: Sequence[tuple[str, Any]], stop_frame: str) -> str:
    """Return the text by the rule as it is written down, with all frames at hand."""
    texts = [(text, usage) for text, usage in [*frames, (stop_frame, {"models": "last"})] if text]
    kept = [texts[0][0]] if texts else []
    growths = 0
    for place, ((before, used), (text, usage)) in enumerate(pairwise(texts), 1):
        is_stop = bool(stop_frame) and place == len(texts) - 1
        if text == before and usage is not None and usage == used:
            continue
        if text == before or not text.startswith(before):
            return "".join((*kept, *(later for later, _ in texts[place:])))
        growths += 1
        if len(before) >= 8 or growths == 2 or is_stop:
            whole = text
            for later, _ in texts[place + 1 :]:
                whole += later[len(whole) :]
            return whole
        kept.append(text)
    return "".join(kept)


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
def test_growing_and_standing_texts_are_read_by_the_rule(
    steps: list[tuple[str, str, int]], stop_repeats: bool
) -> None:
    frames: list[tuple[str, Any]] = []
    text = ""
    for kind, piece, moved in steps:
        text = text if kind == "=" and text else text + piece
        frames.append((text, {"n": 1 + len(frames) if moved else 1}))
    stop_frame = text + "。" if stop_repeats else ""

    added = channel(frames, stop_frame=stop_frame)

    assert by_the_rule(frames, stop_frame) == "".join(added)


USAGE = st.fixed_dictionaries({"n": st.integers(1, 3)}) | st.none()


@given(st.lists(st.tuples(HOSTILE, USAGE), min_size=1, max_size=8))
def test_any_texts_are_read_by_the_rule(frames: list[tuple[str, dict[str, int] | None]]) -> None:
    assert by_the_rule(frames, "") == "".join(channel(frames))


def test_hostile_increments_are_misread_in_less_than_one_stream_of_five_hundred() -> None:
    dice = random.Random(7)
    wrong = 0
    for _ in range(4000):
        text = "".join(dice.choices("1. -*#哈第一", k=dice.randint(4, 40)))
        cuts = [place for place in range(1, len(text)) if dice.random() < 0.5] or [1]
        wrong += text != "".join(channel(moving(pieces_of(text, cuts))))

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
def test_halves_of_a_character_that_two_frames_share_are_joined(
    texts: list[str], expected: str
) -> None:
    assert expected == "".join(channel(moving(texts)))


@given(st.text(st.sampled_from("茶🍵😀a"), min_size=1, max_size=12), st.data())
def test_text_cut_inside_its_characters_comes_out_whole(text: str, data: st.DataObject) -> None:
    units = text.encode("utf-16-le")
    cuts = data.draw(st.lists(st.integers(1, len(units) // 2), max_size=8, unique=True))
    pieces = [
        piece.decode("utf-16-le", "surrogatepass")
        for piece in pieces_of(units, [2 * cut for cut in cuts])
        if piece
    ]

    added = channel(moving(["答", *pieces]))

    assert "答" + text == "".join(added)
    assert all(piece.encode() is not None for piece in added)


# -- stop sequences ----------------------------------------------------------------------------------


def cut_at(stop: list[str], pieces: Iterable[str]) -> tuple[str, bool]:
    stop_filter = StopFilter(stop)
    shown = ""
    for piece in pieces:
        shown += stop_filter.feed(piece)
        if stop_filter.hit:
            return shown, True
    return shown + stop_filter.end(), stop_filter.hit


def first_stop(text: str, stop: list[str]) -> tuple[str, bool]:
    places = [place for sequence in stop if (place := text.find(sequence)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


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
    assert expected == cut_at(stop, [text])
    assert expected == cut_at(stop, text)


@given(
    st.text("abc", max_size=24),
    st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=4),
    st.data(),
)
def test_a_stop_sequence_cuts_alike_wherever_the_text_is_cut(
    text: str, stop: list[str], data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8))

    assert first_stop(text, stop) == cut_at(stop, pieces_of(text, cuts))


def test_only_the_beginning_of_a_stop_sequence_is_held_back() -> None:
    stop_filter = StopFilter(["END"])

    assert stop_filter.feed("茶E") == "茶"
    assert stop_filter.feed("x") == "Ex"
    assert stop_filter.feed("EN") == ""
    assert stop_filter.end() == "EN"


def test_a_stop_sequence_that_a_longer_one_begins_with_cuts_at_once() -> None:
    stop_filter = StopFilter(["ab", "abc"])

    assert stop_filter.feed("xab") == "x"
    assert stop_filter.hit


def test_what_is_shown_of_a_misread_stream_is_not_shown_again() -> None:
    frames = ["一二三四五六七八", "一二三四五六七八九", "另一段", "一二三四五六七八九另一段十"]

    assert channel(moving(frames)) == ["一二三四五六七八", "九", "另一段", "十", "", ""]


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
def test_a_last_frame_that_says_all_again_adds_what_is_missing_if_that_is_a_phrase(
    frames: list[str], last: str, expected: list[str]
) -> None:
    assert channel(moving(frames), stop_frame=last) == expected
