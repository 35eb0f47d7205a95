"""Tests for reading frames from the bytes of a response."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langchain_bailian_app._answer.frames import (
    ErrorFrame,
    Frame,
    FrameReader,
    InvalidFrame,
    parse_error_response,
)
from tests import fuzz
from tests.fixtures import (
    RECORDINGS,
    encode_sse,
    frame_body,
    measure_peak_memory,
    parse_body,
    parse_frames,
    read_recording,
    split_at,
)


def parse_one(body: dict[str, Any] | str) -> Frame:
    (frame,) = parse_frames(encode_sse(body))
    return frame


def parse_error(data: bytes) -> ErrorFrame:
    *frames, error_frame = parse_body(data)
    assert all(isinstance(frame, Frame) for frame in frames)
    assert isinstance(error_frame, ErrorFrame)
    return error_frame


def test_a_frame_contains_the_fields_of_the_reply() -> None:
    body = {
        "output": {
            "text": "茶",
            "finish_reason": "stop",
            "session_id": "s",
            "thoughts": [{"action": "rag"}],
            "doc_references": [{"index_id": "1"}],
            "workflow_message": {"node_id": "End_1"},
        },
        "usage": {"models": []},
        "request_id": "r",
    }
    expected = Frame(
        text="茶",
        finish_reason="stop",
        session_id="s",
        request_id="r",
        thoughts=[{"action": "rag"}],
        doc_references=[{"index_id": "1"}],
        workflow_message={"node_id": "End_1"},
        usage={"models": []},
    )

    assert expected == parse_one(body)


@pytest.mark.parametrize(
    ("finish_reason", "expected"),
    [("null", None), (None, None), ("", None), ("stop", "stop"), ("length", "length"), ("END", "END")],
)
def test_while_generating_the_finish_reason_is_the_string_null_or_null(
    finish_reason: str | None, expected: str | None
) -> None:
    assert expected == parse_one(frame_body(finish_reason=finish_reason)).finish_reason


def test_an_absent_finish_reason_is_none() -> None:
    assert parse_one({"output": {"text": "茶"}}).finish_reason is None


@pytest.mark.parametrize("name", ["smallest-answer.json", "printed-object.json", "whole-answer.json"])
def test_a_json_reply_is_one_frame(name: str) -> None:
    (frame,) = parse_frames(read_recording(name))

    assert frame.finish_reason == "stop"
    assert json.loads(read_recording(name))["output"]["text"] == frame.text


@pytest.mark.parametrize("output", [None, {}])
def test_an_output_of_null_is_an_empty_frame(output: dict[str, Any] | None) -> None:
    assert Frame(request_id="r") == parse_one({"output": output, "usage": None, "request_id": "r"})


@pytest.mark.parametrize(
    "field",
    [
        *("text", "finish_reason", "session_id", "reject_status"),
        *("thoughts", "doc_references", "workflow_message"),
    ],
)
def test_null_is_equivalent_to_an_absent_key(field: str) -> None:
    assert parse_one({"output": {}}) == parse_one({"output": {field: None}})


def test_unknown_fields_are_kept_with_the_names_of_the_wire() -> None:
    body = frame_body("茶", mood="calm") | {"trace": {"hop": 1}}

    assert parse_one(body).extra == {"trace": {"hop": 1}, "output": {"mood": "calm"}}


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("other_fields", [{}, {"thoughts": []}])
def test_the_reject_status_is_a_field_of_its_own(value: bool, other_fields: dict[str, Any]) -> None:
    frame = parse_one(frame_body("茶", reject_status=value, **other_fields))

    assert (frame.reject_status, frame.extra) == (value, {})


@pytest.mark.parametrize("value", ["true", 1, 0, [True]])
def test_a_reject_status_of_unexpected_type_is_kept_verbatim(value: Any) -> None:
    frame = parse_one(frame_body("茶", reject_status=value))

    assert (frame.text, frame.reject_status) == ("茶", None)
    assert frame.extra == {"output": {"reject_status": value}}


def test_a_success_envelope_is_not_kept_as_unknown_fields() -> None:
    for code, message in [("", ""), (None, None), ("Success", "success"), ("200", ""), (200, None)]:
        assert parse_one(frame_body() | {"code": code, "message": message}).extra == {}


def test_entries_that_are_not_objects_are_kept_as_unknown_fields() -> None:
    frame = parse_one(
        frame_body(thoughts=[None, "x", {"action": "rag"}], doc_references=[None, {"index_id": 1}])
    )

    assert frame.thoughts == [{"action": "rag"}]
    assert frame.doc_references == [{"index_id": 1}]
    assert frame.extra == {"output": {"thoughts": [None, "x", {"action": "rag"}]}}


@pytest.mark.parametrize(
    ("name", "value", "expected"), [("thoughts", "x", ()), ("doc_references", {"index_id": 1}, None)]
)
def test_a_list_field_of_unexpected_type_is_kept_verbatim(name: str, value: Any, expected: Any) -> None:
    frame = parse_one(frame_body(**{name: value}))

    assert getattr(frame, name) == expected
    assert frame.extra == {"output": {name: value}}


def test_numbers_are_read_as_text_and_usage_of_unexpected_type_as_none() -> None:
    frame = parse_one({"output": {"text": 7, "session_id": 8}, "request_id": 9, "usage": [1]})

    assert frame == Frame(text="7", session_id="8", request_id="9", usage=None)


@pytest.mark.parametrize("output", ["x", [1], 0])
def test_an_output_of_unexpected_type_is_kept_verbatim(output: Any) -> None:
    assert parse_one({"output": output}).extra == {"output": {"output": output}}


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_unicode_line_separators_are_text(separator: str) -> None:
    assert f"一{separator}二" == parse_one(frame_body(f"一{separator}二")).text


@pytest.mark.parametrize("data", [b"data: [DONE]\n\n", b"data:  [DONE] \n\n", b"data:  \n\n"])
def test_neither_a_done_sentinel_nor_an_empty_event_is_a_frame(data: bytes) -> None:
    assert parse_body(data) == []


def test_framing_of_a_stricter_gateway_is_read_the_same_way() -> None:
    frames = parse_frames(read_recording("bom-crlf-comments-and-split-data.sse"))

    assert [frame.text for frame in frames] == ["冷水", "泡茶", ""]


# -- errors ------------------------------------------------------------------------------------------

ERROR = {"code": "Throttling.RateQuota", "message": "Too many requests.", "request_id": "request-err"}


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("error-event.sse", 429),
        ("error-event-with-space.sse", 429),
        ("error-code-in-ordinary-frame.sse", 200),
        ("business-error-on-200.json", 200),
    ],
)
def test_an_error_is_found_anywhere_in_the_reply(name: str, status: int) -> None:
    expected = ErrorFrame(ERROR["code"], ERROR["message"], status, "request-err", ERROR)

    assert expected == parse_error(read_recording(name))


@pytest.mark.parametrize(
    ("comment", "body_status", "expected"),
    [
        (500, None, 500),
        (200, 429, 429),
        (500, 429, 500),
        (200, None, 200),
        (None, 503, 503),
        (None, 400, 400),
        (400, 503, 400),
        (None, 200, 200),
        (None, "503", 200),
    ],
)
def test_the_status_is_taken_from_the_comment_then_from_the_body(
    comment: int | None, body_status: int | None, expected: int
) -> None:
    status = "" if comment is None else f":HTTP_STATUS/{comment}\n"
    body = json.dumps({"code": "X", "status_code": body_status})

    assert expected == parse_error(f"event:error\n{status}data:{body}\n\n".encode()).status


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "invalid_api_key", "message": "No."}},
        {"error": {"type": "invalid_api_key", "message": "No."}},
        {"code": "invalid_api_key", "message": "No.", "output": None},
        {"code": "invalid_api_key", "error": "No."},
    ],
)
def test_the_error_object_of_sibling_routes_is_an_error(body: dict[str, Any]) -> None:
    expected = ErrorFrame("invalid_api_key", "No.", 200, None, body)

    assert expected == parse_error(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        ({"code": "InvalidParameter", "status": 400}, "InvalidParameter", 400),
        ({"code": "InvalidParameter", "status": "FAILED"}, "InvalidParameter", 200),
        ({"code": "X", "status": 500, "status_code": 404}, "X", 404),
        ({"code": "Success", "status": 400}, "", 400),
        ({"status_code": 429}, "", 429),
        ({"code": "Success", "status_code": 200, "success": False}, "", 200),
        ({"success": "false", "status": "ERROR"}, "", 200),
    ],
)
@pytest.mark.parametrize("id_name", ["request_id", "requestId"])
def test_a_failure_in_an_envelope_of_sibling_routes_is_an_error(
    body: dict[str, Any], code: str, status: int, id_name: str
) -> None:
    body = body | {"message": "No.", id_name: "r", "data": {}}

    assert ErrorFrame(code, "No.", status, "r", body) == parse_error(json.dumps(body).encode())


@pytest.mark.parametrize(
    "envelope",
    [
        {"code": "Success", "status": 200, "requestId": "r"},
        {"code": "Success", "status_code": 200, "success": True, "status": "SUCCESS"},
        {"status": "success", "success": None},
    ],
)
def test_a_successful_envelope_of_sibling_routes_is_a_frame(envelope: dict[str, Any]) -> None:
    frame = parse_one(envelope | {"message": "", "data": {"fileId": "f"}})

    assert frame.extra["data"] == {"fileId": "f"}


def test_an_error_event_without_a_code_is_an_error() -> None:
    data = b'event:error\n:HTTP_STATUS/500\ndata:{"message":"Oops."}\n\n'

    assert ErrorFrame("", "Oops.", 500, None, {"message": "Oops."}) == parse_error(data)


@pytest.mark.parametrize("lines", ["event:error", ":HTTP_STATUS/400", "event:result\n:HTTP_STATUS/500"])
def test_the_name_of_an_event_or_its_status_alone_make_it_an_error(lines: str) -> None:
    error_frame = parse_error(f'{lines}\ndata:{{"message":"Oops.","output":{{}}}}\n\n'.encode())

    assert (error_frame.code, error_frame.message) == ("", "Oops.")


def test_an_error_without_a_message_is_an_error() -> None:
    assert ErrorFrame("X", "", 200, None, {"code": "X"}) == parse_error(b'{"code":"X"}')


def test_an_error_event_that_is_not_json_is_an_error_with_its_text() -> None:
    data = b"event:error\n:HTTP_STATUS/502\ndata:bad gateway\n\n"

    assert ErrorFrame("", "", 502, None, "bad gateway") == parse_error(data)


def test_frames_before_an_error_are_read() -> None:
    frame, _ = parse_body(read_recording("error-event.sse"))

    assert isinstance(frame, Frame)
    assert frame.text == "刚开头"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"output":{"text":"a"', id="a document cut short"),
        pytest.param(b'data:{"output":{"text"', id="a frame cut short"),
        pytest.param('data:{"output":{"text":"茶'.encode()[:-1], id="cut inside a character"),
        pytest.param(b"data:<html>\n\n", id="no JSON"),
        pytest.param(b"data:[1]\n\n", id="a list"),
        pytest.param(b"data:null\n\n", id="null"),
        pytest.param(b"data:" + b"[" * 100_000 + b"\n\n", id="nested beyond reason"),
    ],
)
def test_anything_but_a_json_object_is_an_invalid_frame(data: bytes) -> None:
    assert [type(frame) for frame in parse_body(data)] == [InvalidFrame]


def test_an_invalid_frame_shows_how_it_begins() -> None:
    assert parse_body(b"data:" + b"x" * 1000 + b"\n\n") == [InvalidFrame("x" * 300)]


@pytest.mark.parametrize("cuts", [[], [1], [1, 2, 3, 4]])
def test_the_beginning_of_an_invalid_reply_is_kept_for_error_messages(cuts: list[int]) -> None:
    reader = FrameReader()
    for piece in split_at(b"<html><body>502 Bad Gateway</body></html>", cuts):
        assert reader.feed(piece) == []

    assert reader.end() == []
    assert reader.head == "<html><body>502 Bad Gateway</body></html>"


# -- limits ------------------------------------------------------------------------------------------

TOO_LARGE = InvalidFrame("", is_too_large=True)


@pytest.mark.parametrize("encode", [encode_sse, lambda body: json.dumps(body).encode()])
def test_a_frame_with_a_data_url_of_10_mb_is_read(encode: Callable[[Any], bytes]) -> None:
    image = "data:image/png;base64," + "A" * 13_400_000
    data = encode(frame_body(image))

    (frame,) = parse_frames(data, range(0, len(data), 2**16))

    assert frame.text == image


MAX_BYTES = 2000


def read_with_limit(data: bytes, cuts: Iterable[int]) -> list[Frame | ErrorFrame | InvalidFrame]:
    reader = FrameReader(MAX_BYTES)
    frames = [frame for piece in split_at(data, cuts) for frame in reader.feed(piece)]
    return [*frames, *reader.end()]


@pytest.mark.parametrize("cuts", [[], [9], range(0, MAX_BYTES, 99), range(MAX_BYTES)], ids=str)
@pytest.mark.parametrize("prefix", [b"data:", b"{", b"\xef\xbb\xbf  {", b"", b"\n"])
def test_a_frame_that_is_too_large_is_invalid(prefix: bytes, cuts: Iterable[int]) -> None:
    data = prefix + b" " * (MAX_BYTES + 1)

    assert read_with_limit(data, cuts) == [TOO_LARGE]
    assert read_with_limit(data + b"}\n\ndata:{}\n\n", cuts) == [TOO_LARGE]
    assert read_with_limit(data + b"}\n\ndata:{}\n\n", range(len(data) + 9)) == [TOO_LARGE]


@pytest.mark.parametrize("cuts", [[], [400, 500]])
def test_frames_before_one_that_is_too_large_are_read(cuts: list[int]) -> None:
    data = encode_sse(frame_body("茶")) + b"data:" + bytes(MAX_BYTES) + b"\n\ndata:{}\n\n"

    frame, last = read_with_limit(data, cuts)

    assert isinstance(frame, Frame)
    assert last == TOO_LARGE


@pytest.mark.parametrize("piece", [b"\n", b"  "])
def test_leading_white_space_is_read_in_constant_memory(piece: bytes) -> None:
    reader = FrameReader()

    def feed() -> None:
        for _ in range(5_000):
            assert reader.feed(piece) == []

    assert measure_peak_memory(feed) < 20_000
    assert reader.feed(encode_sse(frame_body("茶"))) == parse_body(encode_sse(frame_body("茶")))


@pytest.mark.parametrize("piece", [b" ", b"{", b"data:"])
def test_a_response_that_is_too_large_is_read_in_linear_time_and_dropped(piece: bytes) -> None:
    max_bytes = 2**20
    reader = FrameReader(max_bytes)
    frames = reader.feed(piece)

    def feed_twice_the_limit() -> None:
        for _ in range(2 * max_bytes // 1024):
            frames.extend(reader.feed(b" " * 1024))

    assert measure_peak_memory(feed_twice_the_limit) < 2.5 * max_bytes
    assert frames == [TOO_LARGE]
    assert measure_peak_memory(lambda: reader.feed(b" " * 2000)) < 10_000
    assert reader.end() == []


def test_only_the_beginning_of_a_stream_is_kept_for_error_messages() -> None:
    reader = FrameReader()
    reader.feed(b"x" * 200)
    reader.feed(b"y" * 10_000)

    assert reader.head == "x" * 200 + "y" * 100


# -- independence of splits --------------------------------------------------------------------------


@given(data=st.data(), name=st.sampled_from(RECORDINGS))
def test_frames_do_not_depend_on_how_the_bytes_are_cut(data: st.DataObject, name: str) -> None:
    stream = read_recording(name)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))

    assert parse_body(stream) == parse_body(stream, cuts)


@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param(b"\xef\xbb\xbf", id="byte order mark"),
        pytest.param(b"\n \r\n", id="white space"),
        pytest.param(b"\xef\xbb\xbf\n", id="both"),
        pytest.param(b"\xef\xbb\xbf \n\n  ", id="both, several times"),
        pytest.param(b" " * 400, id="long white space"),
    ],
)
@pytest.mark.parametrize("name", ["smallest-answer.json", "incremental.sse"])
def test_whitespace_and_bom_before_a_reply_are_skipped_however_it_is_cut(
    prefix: bytes, name: str
) -> None:
    data = read_recording(name)
    body = prefix + data if name.endswith(".json") else prefix.replace(b" ", b"\n") + data

    assert parse_body(data) == parse_body(body)
    assert parse_body(data) == parse_body(body, range(len(body)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KNOWN = dict.fromkeys(
    (
        "text",
        "finish_reason",
        "session_id",
        "thoughts",
        "doc_references",
        "workflow_message",
        "unknown",
    ),
    JSON,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "output": st.fixed_dictionaries({}, optional=KNOWN) | JSON,
            "usage": JSON,
            "request_id": JSON,
            "code": JSON,
            "message": JSON,
            "error": JSON,
            "status_code": JSON,
        },
    )
)
@example({"output": {"finish_reason": []}})
@example({"output": {"finish_reason": {"type": "stop"}}})
@example({"output": [], "code": [], "error": "x", "message": {}})
def test_any_json_object_is_a_frame_or_an_error_frame(body: dict[str, Any]) -> None:
    (frame,) = parse_body(encode_sse(json.dumps(body)))

    assert isinstance(frame, Frame | ErrorFrame)


def test_a_short_run_of_fuzzing_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    fuzz.main(0.3, seed=1)

    assert "no crash" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "code", "message", "body"),
    [
        (b'{"code":"X","message":"m"}', "X", "m", {"code": "X", "message": "m"}),
        (b'\xef\xbb\xbf{"code":"X","message":"m"}', "X", "m", {"code": "X", "message": "m"}),
        (b'{"error":{"type":"X","message":"m"}}', "X", "m", {"error": {"type": "X", "message": "m"}}),
        (b'data:{"code":"X","message":"m"}', "X", "m", {"code": "X", "message": "m"}),
        (b'data:[]\n\ndata:{"code":"X","message":"m"}\n\n', "X", "m", {"code": "X", "message": "m"}),
        (b'data:{"output":{}}\n\nevent:error\ndata:{"code":"X"}\n\n', "X", "", {"code": "X"}),
        (b'data:{"code":"","output":{}}\n\ndata:[1]\n\ndata:{"error":"m"}', "", "m", {"error": "m"}),
        (b'data:{"message":"m"}\n\ndata:{"code":"later"}\n\n', "", "m", {"message": "m"}),
        (b'data:{"a":1}\n\ndata:{"b":2}\n\ndata:[3]\n\n', "", "", {"b": 2}),
        (b'{"detail":"d"}', "", "", {"detail": "d"}),
        (b'["d"]', "", "", ["d"]),
        (b"<h1>Bad Gateway</h1>", "", "", "<h1>Bad Gateway</h1>"),
        (b"\xff", "", "", "\ufffd"),
        (b"", "", "", ""),
    ],
)
def test_an_error_response_may_be_json_a_stream_or_text(
    content: bytes, code: str, message: str, body: Any
) -> None:
    error = parse_error_response(content, 502)

    assert (error.code, error.message, error.status, error.body) == (code, message, 502, body)


def test_the_state_of_a_run_is_passed_on_whole_although_it_describes_a_failure() -> None:
    body = {"object": "response", "status": "failed", "error": {"code": "E"}, "output": {"text": "a"}}

    assert parse_body(json.dumps(body).encode()) == [Frame(extra=body)]


def test_an_error_that_looks_like_the_state_of_a_run_is_an_error() -> None:
    data = b'event:error\n:HTTP_STATUS/500\ndata:{"object": "response", "code": "E"}\n\n'

    (frame,) = parse_body(data)
    assert isinstance(frame, ErrorFrame)
