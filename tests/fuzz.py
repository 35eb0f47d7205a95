"""Hostile bytes for what reads the wire: `make fuzz`, or `python -m tests.fuzz SECONDS [SEED]`.

Mutations of the recordings go through the frame reader, whole and cut anywhere, and texts full of
pieces of markers through the marker filter. Looked for: any exception, another result for another cut,
a marker that survives, lost text, and memory or time out of proportion.
"""

from __future__ import annotations

import random
import re
import sys
import time
import tracemalloc

from langchain_bailian_app._answer.assembler import AnswerReader
from langchain_bailian_app._answer.citations import MarkerFilter
from langchain_bailian_app._answer.frames import Fault, Frame, FrameReader, Garbage
from tests.fixtures import NAMES, pieces_of, recording

SEEDS = [recording(name) for name in NAMES]
SPICE = [
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
SLOW, LARGE = 2.0, 20_000_000


def mutated(dice: random.Random) -> bytes:
    data = bytearray(dice.choice(SEEDS))
    for _ in range(dice.choice([1, 1, 2, 3, 8])):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(5):
            case 0:
                data[at:at] = dice.choice(SPICE)
            case 1:
                del data[at : at + dice.choice([1, 1, 3, 40])]
            case 2:
                data[at : at + 1] = bytes([dice.randrange(256)])
            case 3:
                other = dice.choice(SEEDS)
                start = dice.randrange(len(other))
                data[at:at] = other[start : start + dice.randrange(200)]
            case _:
                data[at:at] = data[max(0, at - 50) : at] * dice.choice([1, 2, 20])
    return bytes(data)


def cuts_of(length: int, dice: random.Random) -> list[int]:
    return [dice.randrange(length + 1) for _ in range(dice.choice([0, 1, 3, 30]))]


def read(data: bytes, cuts: list[int]) -> list[Frame | Fault | Garbage]:
    reader = FrameReader()
    found = [frame for piece in pieces_of(data, cuts) for frame in reader.feed(piece)]
    return found + reader.end()


def fuzz_frames(dice: random.Random) -> None:
    data = mutated(dice)
    whole, cut = (read(data, cuts) for cuts in ([], cuts_of(len(data), dice)))
    assert repr(whole) == repr(cut), data
    reader = AnswerReader()
    for frame in whole:
        if isinstance(frame, Frame):
            reader.feed(frame)
    reader.end()
    reader.answer()


def fuzz_markers(dice: random.Random) -> None:
    text = "".join(dice.choices(ALPHABET, k=dice.randrange(40)))
    for mode, rewrite in (("strip", ""), ("bracket", r"[\1]"), ("keep", r"\g<0>")):
        markers = MarkerFilter(mode)
        shown = "".join(map(markers.feed, pieces_of(text, cuts_of(len(text), dice)))) + markers.end()
        assert shown == MARKER.sub(rewrite, text), (mode, text)


def main(seconds: float, seed: int) -> None:
    dice = random.Random(seed)
    sys.stdout.write(f"seed {seed}, {seconds:.0f} s\n")
    ends, count, slowest = time.monotonic() + seconds, 0, 0.0
    tracemalloc.start()
    most = 0
    while time.monotonic() < ends:
        began = time.monotonic()
        (fuzz_frames if count % 2 else fuzz_markers)(dice)
        slowest = max(slowest, time.monotonic() - began)
        count += 1
        if count % 1000 == 0:
            most = max(most, tracemalloc.get_traced_memory()[1])
            assert most < LARGE, most
    tracemalloc.stop()
    assert slowest < SLOW, slowest
    sys.stdout.write(
        f"{count} inputs, no crash; slowest {slowest * 1000:.0f} ms, most memory {most / 1e6:.1f} MB\n"
    )


if __name__ == "__main__":
    given = sys.argv[1:]
    main(float(given[0]) if given else 600, int(given[1]) if given[1:] else random.randrange(10**6))
