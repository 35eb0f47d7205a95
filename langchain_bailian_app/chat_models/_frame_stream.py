"""Control flow of one call: send, verify the session, retry if needed, save the session.

Each function has a version for threads and one for event loops. All decisions are made in
`sessions._tracker` and `_response_builder`.
"""

from __future__ import annotations

import logging
from contextlib import aclosing, closing, contextmanager
from typing import TYPE_CHECKING

from langchain_bailian_app.errors import BailianSessionError
from langchain_bailian_app.sessions._plan import (
    SessionGuard,
    SessionReplacedError,
    build_session_metadata,
)
from langchain_bailian_app.sessions._store_ops import arun_store_ops, run_store_ops

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator

    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app._transport.transport import Transport
    from langchain_bailian_app.chat_models._response_builder import ResponseBuilder
    from langchain_bailian_app.sessions._store import SessionStore
    from langchain_bailian_app.sessions._tracker import SessionTracker

_logger = logging.getLogger("langchain_bailian_app")


def stream_frames(
    tracker: SessionTracker, transport: Transport, store: SessionStore, builder: ResponseBuilder
) -> Generator[list[Frame]]:
    """Yield the frames of the answer as they arrive.

    The caller feeds them to `builder`, which holds the complete answer when the generator ends.

    Raises:
        BailianError: The call failed, or the answer is incomplete.
    """
    error: BaseException | None = None
    try:
        run_store_ops(store, tracker.start())
        with builder.partial_on_error():
            request_pending = True
            while request_pending:
                with closing(_request_frames(tracker, transport)) as batches:
                    for frames in batches:
                        yield frames
                        if builder.stopped:
                            break
                builder.end()
                request_pending = tracker.continue_with(builder.start_retry(tracker.messages))
        builder.session_metadata = build_session_metadata(tracker.history)
        with _log_store_errors():
            builder.session_metadata = run_store_ops(
                store, tracker.commit(builder.answer, complete=builder.complete)
            )
    except BaseException as exc:
        error = exc
        raise
    finally:
        with _log_store_errors():
            run_store_ops(store, tracker.release(error))


async def astream_frames(
    tracker: SessionTracker, transport: Transport, store: SessionStore, builder: ResponseBuilder
) -> AsyncGenerator[list[Frame]]:
    """Async version of `stream_frames`."""
    error: BaseException | None = None
    try:
        await arun_store_ops(store, tracker.start())
        with builder.partial_on_error():
            request_pending = True
            while request_pending:
                async with aclosing(_arequest_frames(tracker, transport)) as batches:
                    async for frames in batches:
                        yield frames
                        if builder.stopped:
                            break
                builder.end()
                request_pending = tracker.continue_with(builder.start_retry(tracker.messages))
        builder.session_metadata = build_session_metadata(tracker.history)
        with _log_store_errors():
            builder.session_metadata = await arun_store_ops(
                store, tracker.commit(builder.answer, complete=builder.complete)
            )
    except BaseException as exc:
        error = exc
        raise
    finally:
        with _log_store_errors():
            await arun_store_ops(store, tracker.release(error))


@contextmanager
def _log_store_errors() -> Iterator[None]:
    """Log errors of the session store, so that they replace neither the answer nor another error.

    After such an error the session stays claimed or unsaved, and the next call does not continue it.
    """
    try:
        yield
    except Exception:
        _logger.warning(
            "the session store failed; the next call will not continue this session", exc_info=True
        )


def _request_frames(tracker: SessionTracker, transport: Transport) -> Generator[list[Frame]]:
    if tracker.guard is None:
        return transport.stream(tracker.request)
    return _verified_frames(tracker, tracker.guard, transport)


def _verified_frames(
    tracker: SessionTracker, guard: SessionGuard, transport: Transport
) -> Generator[list[Frame]]:
    try:
        with closing(transport.stream(tracker.request)) as batches:
            for frames in batches:
                yield guard.check(frames)
        yield guard.flush()
    except (SessionReplacedError, BailianSessionError) as exc:
        tracker.retry_without_session(exc)
    else:
        return
    with closing(transport.stream(tracker.request)) as batches:
        yield from batches


def _arequest_frames(tracker: SessionTracker, transport: Transport) -> AsyncGenerator[list[Frame]]:
    if tracker.guard is None:
        return transport.astream(tracker.request)
    return _averified_frames(tracker, tracker.guard, transport)


async def _averified_frames(
    tracker: SessionTracker, guard: SessionGuard, transport: Transport
) -> AsyncGenerator[list[Frame]]:
    try:
        async with aclosing(transport.astream(tracker.request)) as batches:
            async for frames in batches:
                yield guard.check(frames)
        yield guard.flush()
    except (SessionReplacedError, BailianSessionError) as exc:
        tracker.retry_without_session(exc)
    else:
        return
    async with aclosing(transport.astream(tracker.request)) as batches:
        async for frames in batches:
            yield frames
