"""Tests for the parser of server-sent events."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_bailian_app._answer.sse import (
    BOM,
    MAX_EVENT_BYTES,
    OVERSIZED_EVENT,
    ServerSentEvent,
    SSEDecoder,
)
from tests.fixtures import RECORDINGS, measure_peak_memory, read_recording, split_at


def decode(data: bytes, cuts: list[int] | None = None) -> list[ServerSentEvent]:
    decoder = SSEDecoder()
    events = [event for piece in split_at(data, cuts or []) for event in decoder.feed(piece)]
    last = decoder.flush()
    return events if last is None else [*events, last]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(b"data:x\n\n", [("message", b"x", None)], id="no space behind the colon"),
        pytest.param(b"data: x\n\n", [("message", b"x", None)], id="a space behind the colon"),
        pytest.param(b"data:  x\n\n", [("message", b" x", None)], id="only one space is framing"),
        pytest.param(b"data\n\n", [("message", b"", None)], id="a field without a colon"),
        pytest.param(b"data:a:b\n\n", [("message", b"a:b", None)], id="a colon in the data"),
        pytest.param(b"data:x\r\n\r\n", [("message", b"x", None)], id="CRLF"),
        pytest.param(b"data:a\ndata:b\n\n", [("message", b"a\nb", None)], id="several data lines"),
        pytest.param(b"\xef\xbb\xbfdata:x\n\n", [("message", b"x", None)], id="byte order mark"),
        pytest.param(b"event:result\ndata:x\n\n", [("result", b"x", None)], id="event"),
        pytest.param(b"event: error\ndata:x\n\n", [("error", b"x", None)], id="event with a space"),
        pytest.param(b"event:error \ndata:x\n\n", [("error", b"x", None)], id="space behind the name"),
        pytest.param(b":HTTP_STATUS/429\ndata:x\n\n", [("message", b"x", 429)], id="status"),
        pytest.param(b":HTTP_STATUS/oops\ndata:x\n\n", [("message", b"x", None)], id="no number"),
        pytest.param(b": ping\n\ndata:x\n\n", [("message", b"x", None)], id="heartbeat"),
        pytest.param(b"\n\n\ndata:x\n\n\n\n", [("message", b"x", None)], id="blank lines"),
        pytest.param(b"id:7\nretry:3\nwhat:9\ndata:x\n\n", [("message", b"x", None)], id="unread"),
        pytest.param(b"event:ping\n\n", [], id="an event without data is ignored"),
        pytest.param(b"data:x", [("message", b"x", None)], id="no line end"),
        pytest.param(b"data:x\n", [("message", b"x", None)], id="no blank line"),
        pytest.param(b"data:x\r\n\r", [("message", b"x", None)], id="half of the last line end"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_a_stream_is_read_as_its_events(
    stream: bytes, expected: list[tuple[str, bytes, int | None]]
) -> None:
    assert expected == decode(stream)


@pytest.mark.parametrize("char", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_only_line_feeds_end_a_line(char: str) -> None:
    data = f"a{char}b".encode()

    assert [("message", data, None)] == decode(b"data:" + data + b"\n\n")


def test_name_and_status_belong_to_one_event_only() -> None:
    stream = b"event:error\n:HTTP_STATUS/500\ndata:a\n\ndata:b\n\n"

    assert decode(stream) == [("error", b"a", 500), ("message", b"b", None)]


def test_an_event_comes_with_the_line_feed_that_completes_it() -> None:
    decoder = SSEDecoder()

    assert decoder.feed(b"data:x\n") == []
    assert decoder.feed(b"\n") == [("message", b"x", None)]
    assert decoder.flush() is None


def test_empty_pieces_change_nothing() -> None:
    decoder = SSEDecoder()
    events = decoder.feed(b"data:x\n") + decoder.feed(b"")

    assert events == []
    assert decoder.flush() == ("message", b"x", None)


def test_flush_ends_the_event() -> None:
    decoder = SSEDecoder()
    decoder.feed(b"data:x")

    assert decoder.flush() == ("message", b"x", None)
    assert decoder.flush() is None


@given(data=st.data(), name=st.sampled_from(RECORDINGS))
def test_events_do_not_depend_on_how_the_bytes_are_cut(data: st.DataObject, name: str) -> None:
    stream = read_recording(name)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))

    assert decode(stream) == decode(stream, cuts)


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_stream_read_byte_by_byte_has_the_same_events(name: str) -> None:
    stream = read_recording(name)

    assert decode(stream) == decode(stream, list(range(len(stream))))


LINES = st.sampled_from(
    [
        b"data:x",
        b"data: \xe8\x8c\xb6",
        b"",
        b"",
        b"event:error",
        b":HTTP_STATUS/400",
        b":",
        b"\xef\xbb\xbf",
    ]
)


@given(
    lines=st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n"]))),
    tail=st.sampled_from([b"", b"\r", b"data:y", b"data:y\r"]),
    data=st.data(),
)
def test_events_do_not_depend_on_how_any_lines_are_cut(
    lines: list[tuple[bytes, bytes]], tail: bytes, data: st.DataObject
) -> None:
    stream = b"".join(line + end for line, end in lines) + tail
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))

    assert decode(stream) == decode(stream, cuts)


def test_a_carriage_return_at_the_end_of_the_body_is_not_data() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data:a\r") == []

    assert decoder.flush() == ServerSentEvent("message", b"a", None)


def test_a_byte_order_mark_is_skipped_at_the_start_only() -> None:
    assert SSEDecoder().feed(BOM + b"data:a\n" + BOM + b"data:b\n\n") == [
        ServerSentEvent("message", b"a", None)
    ]


def test_an_event_name_that_is_not_utf_8_is_decoded_with_replacement() -> None:
    (event,) = SSEDecoder().feed(b"event:\xff\ndata:a\n\n")

    assert event == ServerSentEvent("\ufffd", b"a", None)


# -- limits ------------------------------------------------------------------------------------------

MAX_BYTES = 2000
LARGEST_VALUE = b"x" * (MAX_BYTES - len(b"data:"))


def decode_with_limit(data: bytes, cuts: Iterable[int] = ()) -> list[ServerSentEvent]:
    """Return the events up to the first one that is too large."""
    decoder = SSEDecoder(MAX_BYTES)
    events: list[ServerSentEvent] = []
    for piece in split_at(data, cuts):
        events += decoder.feed(piece)
        if OVERSIZED_EVENT in events:
            assert decoder.flush() is None
            return events
    last = decoder.flush()
    return events if last is None else [*events, last]


def test_the_limit_is_far_above_the_largest_known_field() -> None:
    assert MAX_EVENT_BYTES == 2**25


def test_the_largest_event_is_complete() -> None:
    stream = b"data:" + LARGEST_VALUE + b"\n\n"

    for cuts in ([], [1000, MAX_BYTES - 1], range(len(stream))):
        assert decode_with_limit(stream, cuts) == [("message", LARGEST_VALUE, None)]


@pytest.mark.parametrize(
    "cuts",
    [[], [10, 200], [MAX_BYTES + 8], [MAX_BYTES + 9], range(0, MAX_BYTES, 99), range(MAX_BYTES + 20)],
    ids=str,
)
@pytest.mark.parametrize(
    "large",
    [
        pytest.param(b"data:" + LARGEST_VALUE + b"x\n\n", id="one line"),
        pytest.param(b":" + LARGEST_VALUE + b"12345\n\n", id="a comment"),
        pytest.param(b"data:" + LARGEST_VALUE + b"\ndata:12345\n\n", id="two lines"),
        pytest.param(b"data:" + LARGEST_VALUE + b"x", id="without its end"),
    ],
)
def test_an_event_that_is_too_large_ends_the_stream(large: bytes, cuts: Iterable[int]) -> None:
    stream = b"data:y\n\n" + large + b"data:z\n\n"

    assert decode_with_limit(stream, cuts) == [("message", b"y", None), OVERSIZED_EVENT]


def test_two_lines_within_the_limit_are_complete() -> None:
    stream = b"data:" + LARGEST_VALUE + b"\ndata:1234\n\n"

    assert [len(event.data) for event in decode_with_limit(stream)] == [MAX_BYTES]


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(b"ab", id="a line in small pieces"),
        pytest.param(b"data:ab\n", id="many data lines"),
        pytest.param(b"data:\n", id="many empty data lines"),
        pytest.param(b":ping\n", id="many comments"),
        pytest.param(b"event:ab\n", id="many names"),
    ],
)
def test_an_unfinished_event_needs_little_more_memory_than_its_bytes(piece: bytes) -> None:
    decoder = SSEDecoder()

    def feed() -> None:
        for _ in range(30_000):
            assert decoder.feed(bytes(bytearray(piece))) == []  # a copy, as for each read

    # One small `bytes` object for each piece would need more than ten times as much.
    assert measure_peak_memory(feed) < 2.5 * len(piece) * 30_000 + 20_000


@pytest.mark.parametrize("piece", [b"x" * 1000, b"data:" + b"x" * 1000 + b"\n"])
def test_an_endless_event_is_read_in_linear_time_and_dropped_at_the_limit(piece: bytes) -> None:
    max_bytes = 2**20
    decoder = SSEDecoder(max_bytes)
    events: list[ServerSentEvent] = []

    def feed_up_to_the_limit() -> None:
        while not events:
            events.extend(decoder.feed(piece))

    assert measure_peak_memory(feed_up_to_the_limit) < 2.5 * max_bytes
    assert events == [OVERSIZED_EVENT]
    assert decoder.flush() is None
