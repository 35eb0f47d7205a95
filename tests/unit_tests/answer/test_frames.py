"""Bytes in, frames out: what the service said, nothing added."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.frames import Fault, Frame, FrameReader, Garbage
from tests import fuzz
from tests.fixtures import NAMES, frames_of, pieces_of, read_bytes, recording, reply, sse


def one(body: dict[str, Any] | str) -> Frame:
    (frame,) = frames_of(sse(body))
    return frame


def only_fault(data: bytes) -> Fault:
    *frames, fault = read_bytes(data)
    assert all(isinstance(frame, Frame) for frame in frames)
    assert isinstance(fault, Fault)
    return fault


def test_a_frame_has_what_the_service_said() -> None:
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

    assert expected == one(body)


@pytest.mark.parametrize(
    ("finish_reason", "expected"),
    [("null", None), (None, None), ("", None), ("stop", "stop"), ("length", "length"), ("END", "END")],
)
def test_while_generating_the_finish_reason_is_the_string_null_or_null(
    finish_reason: str | None, expected: str | None
) -> None:
    assert expected == one(reply(finish_reason=finish_reason)).finish_reason


def test_an_absent_finish_reason_is_none() -> None:
    assert one({"output": {"text": "茶"}}).finish_reason is None


@pytest.mark.parametrize("name", ["smallest-answer.json", "printed-object.json", "whole-answer.json"])
def test_a_json_reply_is_one_frame(name: str) -> None:
    (frame,) = frames_of(recording(name))

    assert frame.finish_reason == "stop"
    assert json.loads(recording(name))["output"]["text"] == frame.text


@pytest.mark.parametrize("output", [None, {}])
def test_an_output_of_null_is_an_empty_frame(output: dict[str, Any] | None) -> None:
    assert Frame(request_id="r") == one({"output": output, "usage": None, "request_id": "r"})


@pytest.mark.parametrize(
    "field",
    ["text", "finish_reason", "session_id", "thoughts", "doc_references", "workflow_message"],
)
def test_a_null_is_as_good_as_an_absent_key(field: str) -> None:
    assert one({"output": {}}) == one({"output": {field: None}})


def test_unknown_fields_are_kept_with_the_names_of_the_wire() -> None:
    body = reply("茶", mood="calm") | {"trace": {"hop": 1}}

    assert one(body).extra == {"trace": {"hop": 1}, "output": {"mood": "calm"}}


def test_an_envelope_that_says_fine_is_nothing_unknown() -> None:
    for code, message in [("", ""), (None, None), ("Success", "success"), ("200", ""), (200, None)]:
        assert one(reply() | {"code": code, "message": message}).extra == {}


def test_entries_that_are_no_objects_are_kept_apart() -> None:
    frame = one(reply(thoughts=[None, "x", {"action": "rag"}], doc_references=[None, {"index_id": 1}]))

    assert frame.thoughts == [{"action": "rag"}]
    assert frame.doc_references == [{"index_id": 1}]
    assert frame.extra == {"output": {"thoughts": [None, "x", {"action": "rag"}]}}


@pytest.mark.parametrize(
    ("name", "value", "read_as"), [("thoughts", "x", ()), ("doc_references", {"index_id": 1}, None)]
)
def test_a_list_of_another_shape_is_kept_as_it_came(name: str, value: Any, read_as: Any) -> None:
    frame = one(reply(**{name: value}))

    assert getattr(frame, name) == read_as
    assert frame.extra == {"output": {name: value}}


def test_numbers_are_read_as_text_and_usage_of_another_shape_as_none() -> None:
    frame = one({"output": {"text": 7, "session_id": 8}, "request_id": 9, "usage": [1]})

    assert frame == Frame(text="7", session_id="8", request_id="9", usage=None)


@pytest.mark.parametrize("output", ["x", [1], 0])
def test_an_output_of_another_shape_is_kept_as_it_came(output: Any) -> None:
    assert one({"output": output}).extra == {"output": {"output": output}}


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_unicode_line_separators_are_text(separator: str) -> None:
    assert f"一{separator}二" == one(reply(f"一{separator}二")).text


@pytest.mark.parametrize("data", [b"data: [DONE]\n\n", b"data:  [DONE] \n\n", b"data:  \n\n"])
def test_a_done_sentinel_is_no_frame_nor_is_an_empty_event(data: bytes) -> None:
    assert read_bytes(data) == []


def test_framing_of_a_stricter_gateway_is_read_alike() -> None:
    frames = frames_of(recording("bom-crlf-comments-and-split-data.sse"))

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
def test_an_error_is_found_wherever_it_stands(name: str, status: int) -> None:
    expected = Fault(ERROR["code"], ERROR["message"], status, "request-err", ERROR)

    assert expected == only_fault(recording(name))


@pytest.mark.parametrize(
    ("comment", "told", "expected"),
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
def test_the_comment_tells_the_status_then_the_body(
    comment: int | None, told: int | None, expected: int
) -> None:
    status = "" if comment is None else f":HTTP_STATUS/{comment}\n"
    body = json.dumps({"code": "X", "status_code": told})

    assert expected == only_fault(f"event:error\n{status}data:{body}\n\n".encode()).status


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
    expected = Fault("invalid_api_key", "No.", 200, None, body)

    assert expected == only_fault(json.dumps(body).encode())


def test_an_error_event_without_a_code_is_an_error() -> None:
    data = b'event:error\n:HTTP_STATUS/500\ndata:{"message":"Oops."}\n\n'

    assert Fault("", "Oops.", 500, None, {"message": "Oops."}) == only_fault(data)


@pytest.mark.parametrize("lines", ["event:error", ":HTTP_STATUS/400", "event:result\n:HTTP_STATUS/500"])
def test_the_name_of_an_event_or_its_status_alone_make_it_an_error(lines: str) -> None:
    fault = only_fault(f'{lines}\ndata:{{"message":"Oops.","output":{{}}}}\n\n'.encode())

    assert (fault.code, fault.message) == ("", "Oops.")


def test_an_error_that_says_nothing_is_an_error() -> None:
    assert Fault("X", "", 200, None, {"code": "X"}) == only_fault(b'{"code":"X"}')


def test_an_error_event_that_is_no_json_is_an_error_with_its_text() -> None:
    data = b"event:error\n:HTTP_STATUS/502\ndata:bad gateway\n\n"

    assert Fault("", "bad gateway", 502, None, "bad gateway") == only_fault(data)


def test_what_came_before_an_error_is_read() -> None:
    frame, _ = read_bytes(recording("error-event.sse"))

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
def test_what_is_no_json_object_is_garbage(data: bytes) -> None:
    assert [type(frame) for frame in read_bytes(data)] == [Garbage]


def test_garbage_shows_how_it_begins() -> None:
    assert read_bytes(b"data:" + b"x" * 1000 + b"\n\n") == [Garbage("x" * 300)]


@pytest.mark.parametrize("cuts", [[], [1], [1, 2, 3, 4]])
def test_the_head_of_the_reply_is_kept_for_messages(cuts: list[int]) -> None:
    reader = FrameReader()
    for piece in pieces_of(b"<html><body>502 Bad Gateway</body></html>", cuts):
        assert reader.feed(piece) == []

    assert reader.end() == []
    assert reader.head == "<html><body>502 Bad Gateway</body></html>"


# -- any cut of the bytes ----------------------------------------------------------------------------


@given(data=st.data(), name=st.sampled_from(NAMES))
def test_cuts_do_not_matter(data: st.DataObject, name: str) -> None:
    stream = recording(name)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))

    assert read_bytes(stream) == read_bytes(stream, cuts)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(b"\xef\xbb\xbf", id="byte order mark"),
        pytest.param(b"\n \r\n", id="white space"),
        pytest.param(b"\xef\xbb\xbf\n", id="both"),
        pytest.param(b" " * 400, id="long white space"),
    ],
)
@pytest.mark.parametrize("name", ["smallest-answer.json", "incremental.sse"])
def test_what_stands_before_a_reply_does_not_matter_byte_by_byte(before: bytes, name: str) -> None:
    data = recording(name)
    reply_ = before + data if name.endswith(".json") else before.replace(b" ", b"\n") + data

    assert read_bytes(data) == read_bytes(reply_)
    assert read_bytes(data) == read_bytes(reply_, range(len(reply_)))


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
def test_any_json_object_is_a_frame_or_a_fault(body: dict[str, Any]) -> None:
    (frame,) = read_bytes(sse(json.dumps(body)))

    assert isinstance(frame, Frame | Fault)


# -- lenient JSON ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["text", "thought", "response"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\ud83d\ude00", "😀"),
        (r"a\ud83d", "a\ud83d"),
        (r"\ude00b", "\ude00b"),
        (r"\ude00b\ud83d", "\ude00b\ud83d"),
        (r"a\ud83db", "a\ufffdb"),
        (r"a\ude00b", "a\ufffdb"),
        (r"\ud83d", "\ud83d"),
        (r"\ud83d\ude00\ud83d", "😀\ud83d"),
    ],
)
def test_half_a_pair_is_kept_at_an_end_of_what_streams(name: str, text: str, expected: str) -> None:
    document = f'{{"output": [{{"{name}": "{text}"}}]}}'

    assert {"output": [{name: expected}]} == wire_json.loads(document)
    assert {"output": [{name: expected}]} == wire_json.loads(document.encode())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'"\ud83d\ude00"', "😀"),
        (r'"a\ud83d"', "a\ufffd"),
        (r'{"a\ud83d": ["\ude00", 1, null]}', {"a\ufffd": ["\ufffd", 1, None]}),
        (r'{"title": "\ud83d"}', {"title": "\ufffd"}),
    ],
)
def test_half_a_pair_is_replaced_anywhere_else(text: str, expected: object) -> None:
    assert expected == wire_json.loads(text)


@pytest.mark.parametrize("text", ["", "{", "nonsense", "[" * 100_000])
def test_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        wire_json.loads(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        (" [1]", [1]),
        ("plain", "plain"),
        ("1", "1"),
        ("{broken", "{broken"),
        ("[" * 100_000, "[" * 100_000),
        (None, None),
        ({"a": 1}, {"a": 1}),
    ],
)
def test_json_inside_a_string_is_opened(value: object, expected: object) -> None:
    assert expected == wire_json.opened(value)


def test_a_moment_of_fuzzing_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    fuzz.main(0.3, seed=1)

    assert "no crash" in capsys.readouterr().out
