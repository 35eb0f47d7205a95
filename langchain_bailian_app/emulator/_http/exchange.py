"""One HTTP exchange: writes a reply to the client and notices at once when the client goes.

The edge of the package towards ASGI; what is written comes from elsewhere.
"""

import asyncio
import gzip
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from types import MappingProxyType
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from langchain_bailian_app.emulator._http.encoding import json_bytes
from langchain_bailian_app.emulator._http.errors import ErrorReply, refuse
from langchain_bailian_app.emulator._http.recorder import RecordedRequest, record_of

_VARY = "Origin,Access-Control-Request-Method,Access-Control-Request-Headers"
JSON = "application/json"
EVENT_STREAM = "text/event-stream;charset=UTF-8"
_UNAUTHORIZED = 401


@dataclass(eq=False)
class Exchange:
    """A request that was read, and the way back to its client.

    Attributes:
        record: The request as it is shown to tests.
        headers: Its headers with lower-case names, secrets included.
        content: Its body.
        receive: The ASGI channel that tells when the client goes.
        send: The ASGI channel to the client.
        drop: Closes the connection without a proper end of the body.
        over: Called when nothing more will be written, just before the record says so.
    """

    record: RecordedRequest
    headers: Mapping[str, str]
    content: bytes
    receive: Receive
    send: Send
    drop: Callable[[], None]
    over: Callable[[], None] = lambda: None
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    arrived_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)

    @property
    def wants_stream(self) -> bool:
        """Whether server-sent events were asked for, by either header."""
        return self.headers.get(
            "x-dashscope-sse"
        ) == "enable" or "text/event-stream" in self.headers.get("accept", "")

    def json(self) -> dict[str, Any]:
        """Read the body.

        Raises:
            RequestRefused: It is not a JSON object.
        """
        try:
            body = json.loads(self.content)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            refuse("BadRequest.IllegalInput")
        return body

    async def refuse(self, reply: ErrorReply) -> None:
        """Write a refusal with its HTTP status."""
        headers = {"vary": "Accept-Encoding", **self._timing()}
        # The recorded 401 has no content type.
        if reply.status != _UNAUTHORIZED:
            headers["content-type"] = JSON
        await self._write_json(reply.status, reply.body(self.request_id), {**headers, **reply.headers})

    async def answer(
        self,
        payload: Mapping[str, Any],
        *,
        after: float = 0.0,
        before: Callable[[], None] | None = None,
    ) -> None:
        """Write a whole answer, `after` seconds of generation, and call `before` just then."""
        headers = self._app_headers(finished=True)
        headers |= {"content-type": JSON, "vary": f"{_VARY}, Accept-Encoding"}
        await self._write_json(200, payload, headers, after=after, before=before)

    async def stream(
        self,
        pieces: Iterable[bytes],
        *,
        pace: float,
        before: Mapping[int, Callable[[], None]],
        stall_after: int | None = None,
        cut_after: int | None = None,
    ) -> None:
        """Write a stream frame by frame; the arguments are those of `write`."""
        headers = self._app_headers(finished=False)
        headers |= {"content-type": EVENT_STREAM, "vary": _VARY}
        await self.write(
            200,
            headers,
            pieces,
            pace=pace,
            before=before,
            stall_after=stall_after,
            cut_after=cut_after,
        )

    async def write(
        self,
        status: int,
        headers: Mapping[str, str],
        pieces: Iterable[bytes],
        *,
        pace: float = 0.0,
        before: Mapping[int, Callable[[], None]] = MappingProxyType({}),
        stall_after: int | None = None,
        cut_after: int | None = None,
    ) -> None:
        """Write a response piece by piece, each after `pace` seconds.

        Args:
            status: HTTP status.
            headers: All headers but the date and the server's name.
            pieces: The body; each piece is a chunk of its own.
            pace: Seconds before each piece.
            before: What to do just before a piece is written, by its number from 1.
            stall_after: Write nothing more after this many pieces, and wait for the client to go.
            cut_after: Drop the connection after this many pieces.
        """
        limits = [limit for limit in (stall_after, cut_after) if limit is not None]

        async def body() -> AsyncIterator[bytes]:
            sent = 0
            for piece in itertools.islice(pieces, min(limits, default=None)):
                # Even a pause of 0 lets the event loop see whether the client is still there.
                await asyncio.sleep(pace)
                sent += 1
                if sent in before:
                    before[sent]()
                yield piece
            if sent == cut_after:
                self.drop()
            if sent in limits:
                await asyncio.Event().wait()

        await self._while_connected(self._write(status, headers, body()))

    async def hang_up(self) -> None:
        """Drop the connection without a byte of a reply."""
        self.drop()
        await self._while_connected(_forever())

    async def _write(self, status: int, headers: Mapping[str, str], body: AsyncIterator[bytes]) -> None:
        everything = {"date": formatdate(usegmt=True), "server": "bailian-emulator", **headers}
        raw = [(name.lower().encode(), value.encode()) for name, value in everything.items()]
        self.record.status = status
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        async for piece in body:
            await self.send({"type": "http.response.body", "body": piece, "more_body": True})
            self.record.frames_sent += 1
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write_json(
        self,
        status: int,
        payload: Mapping[str, Any],
        headers: Mapping[str, str],
        *,
        after: float = 0.0,
        before: Callable[[], None] | None = None,
    ) -> None:
        content = json_bytes(payload)
        if "gzip" in self.headers.get("accept-encoding", ""):
            content = gzip.compress(content, mtime=0)
            headers = {**headers, "content-encoding": "gzip"}

        async def written() -> None:
            await asyncio.sleep(after)
            if before is not None:
                before()
            await self._write(status, {**headers, **self._timing()}, _only(content))

        await self._while_connected(written())

    async def _while_connected(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, but only as long as the client is there."""
        writer = asyncio.ensure_future(work)
        watch = asyncio.ensure_future(self._client_gone())
        try:
            await asyncio.wait({writer, watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            finished = writer.done() and not writer.cancelled() and not writer.exception()
            self.over()
            self.record.end(finished=finished)
            writer.cancel()
            watch.cancel()
            await asyncio.wait({writer, watch})
        if not writer.cancelled():
            writer.result()

    async def _client_gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def _app_headers(self, *, finished: bool) -> dict[str, str]:
        return {
            "x-request-id": self.request_id,
            "x-dashscope-timeout": "180",
            "x-dashscope-finished": "true" if finished else "false",
            **self._timing(),
        }

    def _timing(self) -> dict[str, str]:
        now = time.time_ns() // 1_000_000
        cost = str(now - self.arrived_ms)
        return {
            "x-dashscope-call-gateway": "true",
            "req-cost-time": cost,
            "req-arrive-time": str(self.arrived_ms),
            "resp-start-time": str(now),
            "x-envoy-upstream-service-time": cost,
        }


async def received(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    requests: list[RecordedRequest],
    drop: Callable[[tuple[str, int]], None],
) -> Exchange | None:
    """Read a request and write it down; None if its client has gone."""
    request = Request(scope, receive)
    try:
        content = await request.body()
    except ClientDisconnect:
        return None
    headers = request.headers.items()
    record = record_of(
        request.method,
        request.url.path,
        headers,
        content,
        query=request.query_params.multi_items(),
        app_id=scope.get("path_params", {}).get("app_id"),
    )
    requests.append(record)
    client: tuple[str, int] = scope["client"]
    return Exchange(record, dict(headers), content, receive, send, lambda: drop(client))


async def _forever() -> None:
    await asyncio.Event().wait()


async def _only(content: bytes) -> AsyncIterator[bytes]:
    yield content
