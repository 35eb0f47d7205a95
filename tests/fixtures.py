"""Replies as bytes, from `recordings/` or put together, and the short way from them to messages."""

import functools
import itertools
import json
import operator
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from langchain_core.messages import AIMessageChunk

from langchain_bailian_app._answer.assembler import Answer, AnswerReader
from langchain_bailian_app._answer.citations import MarkerMode
from langchain_bailian_app._answer.events import Delta, TextDelta
from langchain_bailian_app._answer.frames import Fault, Frame, FrameReader, Garbage
from langchain_bailian_app.chat_models._messages import chunk_from_delta, last_chunk

T = TypeVar("T", bytes, str)

_RECORDINGS = Path(__file__).parent / "recordings"

NAMES = sorted(path.name for path in _RECORDINGS.iterdir())
ERRORS = [name for name in NAMES if "error" in name]
ANSWERS = [name for name in NAMES if name not in ERRORS]


def recording(name: str) -> bytes:
    """Return the bytes of one reply."""
    return (_RECORDINGS / name).read_bytes()


def sse(*bodies: dict[str, Any] | str) -> bytes:
    """Return a stream in the framing of the gateway."""
    events = [
        f"id:{number}\nevent:result\n:HTTP_STATUS/200\ndata:{_text(body)}\n\n"
        for number, body in enumerate(bodies, 1)
    ]
    return "".join(events).encode()


def reply(text: str = "", finish_reason: str | None = "null", **output: Any) -> dict[str, Any]:
    """Return the body of one frame."""
    return {
        "output": {"session_id": "s", "finish_reason": finish_reason, "text": text, **output},
        "usage": {},
        "request_id": "r",
    }


def pieces_of(whole: T, cuts: Iterable[int]) -> list[T]:
    """Return something cut at these places; some pieces may be empty."""
    places = [0, *sorted(cuts), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(places)]


def read_bytes(data: bytes, cuts: Iterable[int] = ()) -> list[Frame | Fault | Garbage]:
    """Return the frames of a reply that arrives in pieces."""
    reader = FrameReader()
    frames = [frame for piece in pieces_of(data, cuts) for frame in reader.feed(piece)]
    return [*frames, *reader.end()]


def frames_of(data: bytes, cuts: Iterable[int] = ()) -> list[Frame]:
    """Return the frames of a reply without errors."""
    frames = read_bytes(data, cuts)
    assert all(isinstance(frame, Frame) for frame in frames)
    return [frame for frame in frames if isinstance(frame, Frame)]


def read(
    frames: Iterable[Frame], *, markers: MarkerMode = "strip", stop: list[str] | None = None
) -> tuple[list[Delta], Answer]:
    """Return what a stream shows, and what it adds up to."""
    reader = AnswerReader(markers=markers, stop=stop)
    deltas = [delta for frame in frames for delta in reader.feed(frame)]
    deltas += reader.end()
    return deltas, reader.answer()


def answer_of(data: bytes, *, markers: MarkerMode = "strip", stop: list[str] | None = None) -> Answer:
    """Return the answer in a reply."""
    return read(frames_of(data), markers=markers, stop=stop)[1]


def text_frames(pieces: Sequence[str], *, finish_reason: str | None = "stop") -> list[Frame]:
    """Return increments, and the empty frame that ends them."""
    frames = [Frame(text=piece, usage={"n": number}) for number, piece in enumerate(pieces)]
    return [*frames, Frame(finish_reason=finish_reason)]


def shown(deltas: Iterable[Delta]) -> str:
    """Return the text that a stream has shown."""
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def chunks_of(deltas: Iterable[Delta], answer: Answer) -> list[AIMessageChunk]:
    """Return the chunks of a stream."""
    return [*map(chunk_from_delta, deltas), last_chunk(answer, "app", {})]


def merged(chunks: Sequence[AIMessageChunk]) -> AIMessageChunk:
    """Return the sum of chunks."""
    return functools.reduce(operator.add, chunks)


def _text(body: dict[str, Any] | str) -> str:
    return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
