"""One call from its first step to its last: ask, check who answers, ask again if need be, remember.

The twins for threads and event loops; what they decide is decided in `_exchange` and `_reply`.
"""

from __future__ import annotations

import logging
from contextlib import aclosing, closing, contextmanager
from typing import TYPE_CHECKING

from langchain_bailian_app.errors import BailianSessionError
from langchain_bailian_app.sessions._checkpoint import Admission, SessionReplacedError, metadata
from langchain_bailian_app.sessions._tracker import Exchange, aperform, perform

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator

    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app._transport.transport import Transport
    from langchain_bailian_app.chat_models._response import ReplyReader
    from langchain_bailian_app.sessions._store import SessionStore

_logger = logging.getLogger("langchain_bailian_app")


def read(
    exchange: Exchange, transport: Transport, store: SessionStore, reply: ReplyReader
) -> Generator[list[Frame]]:
    """Yield the frames of the answer, as they come; `reply` reads them, and is complete in the end.

    Raises:
        BailianError: The call failed, or the answer is not complete.
    """
    error: BaseException | None = None
    try:
        perform(store, exchange.begin())
        with reply.partial_on_error():
            asking = True
            while asking:
                with closing(_frames(exchange, transport)) as reads:
                    for frames in reads:
                        yield frames
                        if reply.cut:
                            break
                reply.end()
                asking = exchange.ask_again(reply.asked_again(exchange.messages))
        reply.conversation = metadata(exchange.history)
        with _answer_kept():
            reply.conversation = perform(store, exchange.settle(reply.answer, whole=reply.whole))
    except BaseException as exc:
        error = exc
        raise
    finally:
        with _answer_kept():
            perform(store, exchange.close(error))


async def aread(
    exchange: Exchange, transport: Transport, store: SessionStore, reply: ReplyReader
) -> AsyncGenerator[list[Frame]]:
    """Do what `read` does, on the running event loop."""
    error: BaseException | None = None
    try:
        await aperform(store, exchange.begin())
        with reply.partial_on_error():
            asking = True
            while asking:
                async with aclosing(_aframes(exchange, transport)) as reads:
                    async for frames in reads:
                        yield frames
                        if reply.cut:
                            break
                reply.end()
                asking = exchange.ask_again(reply.asked_again(exchange.messages))
        reply.conversation = metadata(exchange.history)
        with _answer_kept():
            reply.conversation = await aperform(store, exchange.settle(reply.answer, whole=reply.whole))
    except BaseException as exc:
        error = exc
        raise
    finally:
        with _answer_kept():
            await aperform(store, exchange.close(error))


@contextmanager
def _answer_kept() -> Iterator[None]:
    """Let a store that fails after the answer, or after an error, take neither away.

    The session stays claimed or unknown then: the next call does not continue it.
    """
    try:
        yield
    except Exception:
        _logger.warning(
            "the session store failed: the next call does not continue this session", exc_info=True
        )


def _frames(exchange: Exchange, transport: Transport) -> Generator[list[Frame]]:
    if exchange.admission is None:
        return transport.stream(exchange.request)
    return _admitted_frames(exchange, exchange.admission, transport)


def _admitted_frames(
    exchange: Exchange, admission: Admission, transport: Transport
) -> Generator[list[Frame]]:
    try:
        with closing(transport.stream(exchange.request)) as reads:
            for frames in reads:
                yield admission.admit(frames)
        yield admission.end()
    except (SessionReplacedError, BailianSessionError) as exc:
        exchange.fall_back(exc)
    else:
        return
    with closing(transport.stream(exchange.request)) as reads:
        yield from reads


def _aframes(exchange: Exchange, transport: Transport) -> AsyncGenerator[list[Frame]]:
    if exchange.admission is None:
        return transport.astream(exchange.request)
    return _admitted_aframes(exchange, exchange.admission, transport)


async def _admitted_aframes(
    exchange: Exchange, admission: Admission, transport: Transport
) -> AsyncGenerator[list[Frame]]:
    try:
        async with aclosing(transport.astream(exchange.request)) as reads:
            async for frames in reads:
                yield admission.admit(frames)
        yield admission.end()
    except (SessionReplacedError, BailianSessionError) as exc:
        exchange.fall_back(exc)
    else:
        return
    async with aclosing(transport.astream(exchange.request)) as reads:
        async for frames in reads:
            yield frames
