"""Ctrl-C at a chosen line of the package."""

from __future__ import annotations

import dis
import linecache
import sys
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType


class TooFewLinesError(Exception):
    """Error raised if the code ended before the chosen line."""


@contextmanager
def interrupt_at(
    line: int, *files: str, stop_at: Callable[[FrameType], bool] = lambda _: False
) -> Iterator[None]:
    """Raise KeyboardInterrupt once, at the n-th executed line of the files, which are names' ends.

    Args:
        line: Number of the line, from 1.
        files: Ends of the names of files.
        stop_at: Returns, for the frame of a function, whether no line may be interrupted from here on.

    Raises:
        TooFewLinesError: Fewer lines were executed.
    """
    remaining = line
    stopped = False

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal remaining, stopped
        if not frame.f_code.co_filename.endswith(files):
            return None
        if event == "call":
            stopped = stopped or stop_at(frame)
        elif event == "line" and not stopped and _handles_signals(frame):
            remaining -= 1
            if remaining == 0:
                name, line = frame.f_code.co_filename, frame.f_lineno
                place = f"{name}:{line}: {linecache.getline(name, line).strip()}"
                raise KeyboardInterrupt(place)
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(previous)
    if remaining > 0:
        raise TooFewLinesError


def _handles_signals(frame: FrameType) -> bool:
    """Return whether Python may execute a signal handler in this line, which is about to start.

    It does so at calls and jumps: neither at a `try`, nor between the body of a `with` and its exit.
    """
    words = linecache.getline(frame.f_code.co_filename, frame.f_lineno).split()
    if words[0] == "async":
        del words[0]
    is_exit_of_with = words[0] == "with" and frame.f_lasti not in _starts_of_lines(frame.f_code)
    return words[0] != "try:" and not is_exit_of_with


@cache
def _starts_of_lines(code: CodeType) -> frozenset[int]:
    """Return the offset of the first instruction of each line."""
    starts: dict[int, int] = {}
    for offset, line in dis.findlinestarts(code):
        if line is not None:
            starts.setdefault(line, offset)
    return frozenset(starts.values())
