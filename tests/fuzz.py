"""Fuzzer of the parsers of responses: `make fuzz`, or `python -m tests.fuzz SECONDS [SEED]`.

The frame reader gets mutated recordings, unsplit and split at random positions; the marker filter gets
texts with many fragments of markers. The fuzzer fails on an exception, on a result that depends on the
split, on a marker that remains, on lost text, and on too much memory or time.
"""

from __future__ import annotations

import random
import re
import sys
import time
import tracemalloc

from langchain_bailian_app._answer.assembler import AnswerAssembler
from langchain_bailian_app._answer.citations import MarkerFilter
from langchain_bailian_app._answer.frames import Frame
from tests.fixtures import RECORDINGS, parse_body, read_recording, split_at

SEEDS = [read_recording(name) for name in RECORDINGS]
FRAGMENTS = [
    *(b"\n", b"\r\n", b"\n\n", b"\r", b"data:", b"data: ", b"event:error\n", b":HTTP_STATUS/500\n"),
    *(b"id:", b"\xef\xbb\xbf", b"\xff", b"\x00", b"\xe2\x80\xa8", b"{", b"}", b'"', b"\\", b"\\ud83d"),
    *(b"null", b"[]", b"1e999", b"NaN", b"[DONE]", b"<ref>[1]</ref>", b"<ref>", b"[" * 500),
    *(b'"finish_reason":"stop"', b'"thoughts":[1]', b'"text":7', b'"usage":[]', b'"output":null'),
]
ALPHABET = [
    "<",
    "ref",
    ">",
    "[",
    "]",
    "</ref>",
    "<ref>[1]</ref>",
    "1",
    "12",
    "０",
    "<<",
    " ",
    "文",
    "\n",
]
MARKER = re.compile(r"<ref>\[([0-9]+)\]</ref>")
MAX_SECONDS, MAX_BYTES = 2.0, 20_000_000


def mutate_recording(rng: random.Random) -> bytes:
    data = bytearray(rng.choice(SEEDS))
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        position = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[position:position] = rng.choice(FRAGMENTS)
            case 1:
                del data[position : position + rng.choice([1, 1, 3, 40])]
            case 2:
                data[position : position + 1] = bytes([rng.randrange(256)])
            case 3:
                other = rng.choice(SEEDS)
                start = rng.randrange(len(other))
                data[position:position] = other[start : start + rng.randrange(200)]
            case _:
                data[position:position] = data[max(0, position - 50) : position] * rng.choice(
                    [1, 2, 20]
                )
    return bytes(data)


def random_cuts(length: int, rng: random.Random) -> list[int]:
    return [rng.randrange(length + 1) for _ in range(rng.choice([0, 1, 3, 30]))]


def fuzz_frames(rng: random.Random) -> None:
    data = mutate_recording(rng)
    uncut_frames, cut_frames = (parse_body(data, cuts) for cuts in ([], random_cuts(len(data), rng)))
    assert repr(uncut_frames) == repr(cut_frames), data
    assembler = AnswerAssembler()
    for frame in uncut_frames:
        if isinstance(frame, Frame):
            assembler.feed(frame)
    assembler.end()
    assembler.build_answer()


def fuzz_markers(rng: random.Random) -> None:
    text = "".join(rng.choices(ALPHABET, k=rng.randrange(40)))
    for mode, rewrite in (("strip", ""), ("bracket", r"[\1]"), ("keep", r"\g<0>")):
        marker_filter = MarkerFilter(mode)
        emitted = (
            "".join(map(marker_filter.feed, split_at(text, random_cuts(len(text), rng))))
            + marker_filter.end()
        )
        assert emitted == MARKER.sub(rewrite, text), (mode, text)


def main(seconds: float, seed: int) -> None:
    rng = random.Random(seed)
    sys.stdout.write(f"seed {seed}, {seconds:.0f} s\n")
    deadline, count, slowest = time.monotonic() + seconds, 0, 0.0
    tracemalloc.start()
    peak_memory = 0
    while time.monotonic() < deadline:
        started = time.monotonic()
        (fuzz_frames if count % 2 else fuzz_markers)(rng)
        slowest = max(slowest, time.monotonic() - started)
        count += 1
        if count % 1000 == 0:
            peak_memory = max(peak_memory, tracemalloc.get_traced_memory()[1])
            assert peak_memory < MAX_BYTES, peak_memory
    tracemalloc.stop()
    assert slowest < MAX_SECONDS, slowest
    sys.stdout.write(
        f"{count} inputs, no crash; slowest {slowest * 1000:.0f} ms, "
        f"peak memory {peak_memory / 1e6:.1f} MB\n"
    )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(
        float(arguments[0]) if arguments else 600,
        int(arguments[1]) if arguments[1:] else random.randrange(10**6),
    )
