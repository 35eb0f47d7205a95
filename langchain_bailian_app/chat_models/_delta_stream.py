"""Control flow of one call: send, verify the session, retry if needed, save the session.

`stream_deltas` and its async version feed frames to `PreparedCall.response`, which is complete when
they end. `sessions._tracker` and `_response_builder` make all decisions.
"""

from __future__ import annotations

import logging
from contextlib import aclosing, closing, contextmanager
from typing import TYPE_CHECKING

from langchain_bailian_app.errors import BailianSessionError
from langchain_bailian_app.sessions._plan import SessionReplacedError, build_session_metadata
from langchain_bailian_app.sessions._store_ops import arun_store_ops, run_store_ops

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator

    from langchain_bailian_app._answer.events import Delta
    from langchain_bailian_app._transport.transport import Transport
    from langchain_bailian_app.chat_models._call import PreparedCall
    from langchain_bailian_app.sessions._store import SessionStore
    from langchain_bailian_app.sessions._tracker import SessionTracker

_logger = logging.getLogger("langchain_bailian_app")


def stream_deltas(call: PreparedCall, transport: Transport) -> Generator[list[Delta]]:
    """Run a call and yield the deltas of its answer as they arrive.

    `call.response` holds the complete answer when the generator ends.

    Raises:
        BailianError: The call failed, or the answer is incomplete.
        ValueError: The messages cannot be sent to an application; nothing was sent.
    """
    messages = call.messages
    if call.files is not None:
        from langchain_bailian_app.files._inline_files import upload_inline_files

        messages = upload_inline_files(call.files, messages)
    tracker = call.create_tracker(messages, transport.connection)
    response, store = call.response, call.store
    error: BaseException | None = None
    try:
        try:
            run_store_ops(store, tracker.start())
            with response.partial_on_error(tracker.take_withheld_frames):
                while True:
                    guard = tracker.guard
                    try:
                        with closing(transport.stream(tracker.request, tracker.on_send)) as batches:
                            for frames in batches:
                                yield response.feed(frames if guard is None else guard.check(frames))
                                if response.stopped:
                                    break
                        if guard is not None:
                            yield response.feed(guard.flush())
                    except (SessionReplacedError, BailianSessionError) as exc:
                        tracker.retry_without_session(exc)
                        continue
                    last_deltas = response.end()
                    if not tracker.continue_with(response.start_retry(tracker.messages)):
                        break
                    yield last_deltas
            response.session_metadata = build_session_metadata(tracker.history)
            with _log_store_errors():
                response.session_metadata = run_store_ops(
                    store, tracker.commit(response.answer, complete=response.complete)
                )
        except BaseException as exc:
            error = exc
            raise
        finally:
            _release(tracker, store, error)
    finally:
        # Ctrl-C may have interrupted the release, even before its first line. Once the claim is
        # released, this does nothing.
        _release(tracker, store, error)
    yield last_deltas  # the session is saved, even if the caller stops reading here


async def astream_deltas(call: PreparedCall, transport: Transport) -> AsyncGenerator[list[Delta]]:
    """Async version of `stream_deltas`."""
    messages = call.messages
    if call.files is not None:
        from langchain_bailian_app.files._inline_files import aupload_inline_files

        messages = await aupload_inline_files(call.files, messages)
    tracker = call.create_tracker(messages, transport.connection)
    response, store = call.response, call.store
    error: BaseException | None = None
    try:
        await arun_store_ops(store, tracker.start())
        with response.partial_on_error(tracker.take_withheld_frames):
            while True:
                guard = tracker.guard
                try:
                    async with aclosing(transport.astream(tracker.request, tracker.on_send)) as batches:
                        async for frames in batches:
                            yield response.feed(frames if guard is None else guard.check(frames))
                            if response.stopped:
                                break
                    if guard is not None:
                        yield response.feed(guard.flush())
                except (SessionReplacedError, BailianSessionError) as exc:
                    tracker.retry_without_session(exc)
                    continue
                last_deltas = response.end()
                if not tracker.continue_with(response.start_retry(tracker.messages)):
                    break
                yield last_deltas
        response.session_metadata = build_session_metadata(tracker.history)
        with _log_store_errors():
            response.session_metadata = await arun_store_ops(
                store, tracker.commit(response.answer, complete=response.complete)
            )
    except BaseException as exc:
        error = exc
        raise
    finally:
        with _log_store_errors():
            await arun_store_ops(store, tracker.release(error))
    yield last_deltas


def _release(tracker: SessionTracker, store: SessionStore, error: BaseException | None) -> None:
    with _log_store_errors():
        run_store_ops(store, tracker.release(error))


@contextmanager
def _log_store_errors() -> Iterator[None]:
    """Log errors of the session store, so that they replace neither the answer nor another error.

    After such an error, the session stays claimed or unsaved, so the next call does not continue it.
    """
    try:
        yield
    except Exception:
        _logger.warning(
            "the session store failed; the next call will not continue this session", exc_info=True
        )
