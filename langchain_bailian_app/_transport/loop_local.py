"""Objects that belong to one event loop, such as HTTP clients and Redis clients.

A client holds a reference to its event loop. A dictionary from loops to clients, even one with weak
keys, would therefore keep alive every loop that is never closed. Here, each loop owns its objects: they
are stored in an attribute of the loop, and the garbage collector removes both together.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import itertools
import os
import sys
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

T = TypeVar("T")

_ATTRIBUTE = "_langchain_bailian_app"
_Loop = asyncio.AbstractEventLoop
_Key = tuple[int, int]  # process id, number of the `LoopLocal`

_MAX_STOPPED_LOOPS = 16  # a loop that is never closed keeps four file descriptors until it is collected
_ids = itertools.count()


class LoopLocal(Generic[T]):
    """One object for each event loop; it is created on first use and closed with the loop.

    If the `LoopLocal` is collected first, its objects are closed by their loops. A forked child process
    creates its own objects.

    Args:
        create: Returns a new object. It is called on the loop.
        close: Closes an object. It must not refer to the owner of the `LoopLocal`, which would then
            live as long as the loop.
    """

    def __init__(
        self, create: Callable[[], T], close: Callable[[T], Awaitable[object]] | None = None
    ) -> None:
        self._create = create
        self._close = close
        self._id = next(_ids)
        weakref.finalize(self, _close_on_their_loops, self._id).atexit = False

    def get(self) -> T:
        """Return the object of the running event loop."""
        loop = asyncio.get_running_loop()
        objects = _get_objects(loop)
        if objects is None:
            objects = _loops.add(loop)
        key = os.getpid(), self._id
        entry = objects.entries.get(key)
        if entry is None:
            entry = objects.entries[key] = self._create(), self._close
            objects.close_with_running_loop()
        return cast("T", entry[0])

    @property
    def is_loop_closing(self) -> bool:
        """Whether the running event loop has closed its objects, as its last work."""
        objects = _get_objects(asyncio.get_running_loop())
        return objects is not None and objects.is_closing

    async def aclose(self) -> None:
        """Close the object of the running event loop."""
        objects = _get_objects(asyncio.get_running_loop())
        if objects is not None:
            await objects.close_one((os.getpid(), self._id))

    def __iter__(self) -> Iterator[_Loop]:
        """Yield the event loops that have an object."""
        return (loop for loop, objects in _loops if (os.getpid(), self._id) in objects.entries)


class _LoopObjects:
    """The objects of one event loop."""

    def __init__(self) -> None:
        self.entries: dict[_Key, tuple[Any, Callable[[Any], Awaitable[object]] | None]] = {}
        self.is_closing = False
        self._closing_tasks: set[asyncio.Task[None]] = set()

    def close_with_running_loop(self) -> None:
        """Have the running event loop call `aclose` when it closes its asynchronous generators.

        This is not a real generator. A collected generator asks its loop to close it, which a loop that
        never runs again cannot do.
        """
        firstiter = sys.get_asyncgen_hooks().firstiter
        if firstiter is not None:
            firstiter(cast("AsyncGenerator[None]", self))

    async def aclose(self) -> None:
        """Close all objects that this process has created."""
        self.is_closing = True
        keys = [key for key in self.entries if key[0] == os.getpid()]
        await asyncio.gather(*map(self.close_one, keys))

    async def close_one(self, key: _Key) -> None:
        """Close and forget an object, if it exists."""
        value, close = self.entries.pop(key, (None, None))
        if close is not None:
            await close(value)

    def start_closing(self, key: _Key) -> None:
        task = asyncio.get_running_loop().create_task(self.close_one(key))
        self._closing_tasks.add(task)
        task.add_done_callback(self._closing_tasks.discard)


def _get_objects(loop: _Loop) -> _LoopObjects | None:
    return getattr(loop, _ATTRIBUTE, None)


class _Loops:
    """The event loops that have objects and that were not collected."""

    # No lock guards the set: each operation is atomic, and a lock that another thread holds during a
    # fork would stay locked in the child process.
    def __init__(self) -> None:
        self._references: set[weakref.ref[_Loop]] = set()
        self._max_stopped = _MAX_STOPPED_LOOPS

    def add(self, loop: _Loop) -> _LoopObjects:
        """Add the running event loop."""
        self._collect_dropped()
        objects = _LoopObjects()
        setattr(loop, _ATTRIBUTE, objects)
        self._references.add(weakref.ref(loop, self._references.discard))
        return objects

    def __iter__(self) -> Iterator[tuple[_Loop, _LoopObjects]]:
        for reference in list(self._references):
            loop = reference()
            objects = None if loop is None else _get_objects(loop)
            if loop is not None and objects is not None:
                yield loop, objects

    def _collect_dropped(self) -> None:
        """Collect garbage if many loops have stopped and still have objects.

        The collector counts objects, not file descriptors. It may run too late for a process that
        creates a loop for each call.
        """
        if self._count_stopped() >= self._max_stopped:
            gc.collect()
            # A process may also have many loops that it will use again.
            self._max_stopped = 2 * self._count_stopped() + _MAX_STOPPED_LOOPS

    def _count_stopped(self) -> int:
        return sum(bool(objects.entries) and not loop.is_running() for loop, objects in self)


_loops = _Loops()


def _close_on_their_loops(local_id: int) -> None:
    """Close the objects of a collected `LoopLocal`. The garbage collector may call this anywhere."""
    key = os.getpid(), local_id
    for loop, objects in _loops:
        if key in objects.entries:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(objects.start_closing, key)


@atexit.register
def _close_on_open_loops() -> None:
    for loop, objects in _loops:
        if any(pid == os.getpid() for pid, _ in objects.entries) and not (
            loop.is_running() or loop.is_closed()
        ):
            loop.run_until_complete(objects.aclose())
