"""Responses as bytes, recorded or built, and functions to parse them and build messages from them."""

import functools
import itertools
import json
import operator
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from langchain_core.messages import AIMessageChunk

from langchain_bailian_app._answer.answer import Answer
from langchain_bailian_app._answer.assembler import AnswerAssembler
from langchain_bailian_app._answer.citations import MarkerMode
from langchain_bailian_app._answer.events import Delta, TextDelta
from langchain_bailian_app._answer.frames import ErrorFrame, Frame, FrameReader, InvalidFrame
from langchain_bailian_app.chat_models._messages import build_last_chunk, chunk_from_delta

T = TypeVar("T", bytes, str)

_RECORDINGS = Path(__file__).parent / "recordings"

RECORDINGS = sorted(path.name for path in _RECORDINGS.iterdir())
ERROR_RECORDINGS = [name for name in RECORDINGS if "error" in name]
ANSWER_RECORDINGS = [name for name in RECORDINGS if name not in ERROR_RECORDINGS]


def read_recording(name: str) -> bytes:
    """Return the bytes of a recorded response."""
    return (_RECORDINGS / name).read_bytes()


def encode_sse(*bodies: dict[str, Any] | str) -> bytes:
    """Return a stream of frames in the format of the gateway."""
    events = [
        f"id:{number}\nevent:result\n:HTTP_STATUS/200\ndata:{_to_json(body)}\n\n"
        for number, body in enumerate(bodies, 1)
    ]
    return "".join(events).encode()


def compress_zeros(mebibytes: int) -> bytes:
    """Return many mebibytes of zeros in gzip, without its checksum; they take 1 kB each."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    mebibyte = compressor.compress(bytes(2**20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08" + bytes(7) + mebibyte * mebibytes


def measure_peak_memory(function: Callable[[], object]) -> int:
    """Return the largest number of bytes that a function allocates at a time."""
    tracemalloc.start()
    function()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak_bytes


def frame_body(text: str = "", finish_reason: str | None = "null", **output: Any) -> dict[str, Any]:
    """Return the body of one frame."""
    return {
        "output": {"session_id": "s", "finish_reason": finish_reason, "text": text, **output},
        "usage": {},
        "request_id": "r",
    }


def split_at(data: T, cuts: Iterable[int]) -> list[T]:
    """Return data split at the given positions; some pieces may be empty."""
    positions = [0, *sorted(cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(positions)]


def parse_body(data: bytes, cuts: Iterable[int] = ()) -> list[Frame | ErrorFrame | InvalidFrame]:
    """Return the frames of a response that arrives in pieces."""
    reader = FrameReader()
    frames = [frame for piece in split_at(data, cuts) for frame in reader.feed(piece)]
    return [*frames, *reader.end()]


def parse_frames(data: bytes, cuts: Iterable[int] = ()) -> list[Frame]:
    """Return the frames of a response without errors."""
    frames = parse_body(data, cuts)
    assert all(isinstance(frame, Frame) for frame in frames)
    return [frame for frame in frames if isinstance(frame, Frame)]


def assemble(
    frames: Iterable[Frame], *, markers: MarkerMode = "strip", stop: list[str] | None = None
) -> tuple[list[Delta], Answer]:
    """Return the deltas of a stream, and the complete answer."""
    assembler = AnswerAssembler(markers=markers, stop=stop)
    deltas = [delta for frame in frames for delta in assembler.feed(frame)]
    deltas += assembler.end()
    return deltas, assembler.build_answer()


def parse_answer(
    data: bytes, *, markers: MarkerMode = "strip", stop: list[str] | None = None
) -> Answer:
    """Return the answer in a response."""
    return assemble(parse_frames(data), markers=markers, stop=stop)[1]


def text_frames(pieces: Sequence[str], *, finish_reason: str | None = "stop") -> list[Frame]:
    """Return a frame for each piece, and the empty last frame."""
    frames = [Frame(text=piece, usage={"n": number}) for number, piece in enumerate(pieces)]
    return [*frames, Frame(finish_reason=finish_reason)]


def join_text(deltas: Iterable[Delta]) -> str:
    """Return the text of all deltas."""
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def make_chunks(deltas: Iterable[Delta], answer: Answer) -> list[AIMessageChunk]:
    """Return the chunks of a stream."""
    return [*map(chunk_from_delta, deltas), build_last_chunk(answer, "app", {})]


def merge_chunks(chunks: Sequence[AIMessageChunk]) -> AIMessageChunk:
    """Return the sum of chunks."""
    return functools.reduce(operator.add, chunks)


def _to_json(body: dict[str, Any] | str) -> str:
    return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
