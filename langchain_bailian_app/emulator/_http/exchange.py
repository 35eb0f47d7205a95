"""HTTP exchange with a client: reads the request, writes the reply, detects a disconnect at once.

This module is the interface to ASGI. Other modules provide the content of the replies.
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

from langchain_bailian_app.emulator._http.encoding import encode_json
from langchain_bailian_app.emulator._http.errors import ErrorReply, refuse
from langchain_bailian_app.emulator._http.recorder import RecordedRequest, record_request
from langchain_bailian_app.emulator._http.server_thread import ClientConnection, FindConnection

_VARY = "Origin,Access-Control-Request-Method,Access-Control-Request-Headers"
JSON = "application/json"
EVENT_STREAM = "text/event-stream;charset=UTF-8"
_UNAUTHORIZED = 401


@dataclass(eq=False)
class HttpExchange:
    """A request that was read, and the channels for its reply.

    Attributes:
        record: The request as recorded for tests, without secrets.
        headers: Headers of the request with lower-case names, including secrets.
        content: Body of the request.
        receive: The ASGI channel from the client, used to detect a disconnect.
        send: The ASGI channel to the client.
        connection: Direct access to the connection, for what ASGI cannot send.
        on_end: Function that is called when nothing more will be written, just before `record` is
            marked as ended.
        request_id: Id of the request, as the service would return it.
        arrived_ms: Unix time when the request arrived, in milliseconds.
    """

    record: RecordedRequest
    headers: Mapping[str, str]
    content: bytes
    receive: Receive
    send: Send
    connection: ClientConnection
    on_end: Callable[[], None] = lambda: None
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    arrived_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)

    @property
    def wants_stream(self) -> bool:
        """Whether the request asks for server-sent events in either of two headers."""
        return self.headers.get(
            "x-dashscope-sse"
        ) == "enable" or "text/event-stream" in self.headers.get("accept", "")

    def json(self) -> dict[str, Any]:
        """Return the JSON body.

        Raises:
            RequestRefused: The body is not a JSON object.
        """
        try:
            body = json.loads(self.content)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            refuse("BadRequest.IllegalInput")
        return body

    async def send_error(self, reply: ErrorReply) -> None:
        """Write an error response with its HTTP status."""
        headers = {"vary": "Accept-Encoding", **self._timing_headers()}
        # The recorded 401 has no content type.
        if reply.status != _UNAUTHORIZED:
            headers["content-type"] = JSON
        headers |= reply.headers
        await self._send_json(reply.status, reply.body(self.request_id), headers)

    async def send_error_body(self, status: int, body: Mapping[str, Any]) -> None:
        """Write an error response whose body has the shape of another route."""
        headers = {"vary": "Accept-Encoding", "content-type": JSON, **self._timing_headers()}
        await self._send_json(status, body, headers)

    async def send_json(
        self,
        payload: Mapping[str, Any],
        *,
        delay: float = 0.0,
        before_send: Callable[[], None] | None = None,
    ) -> None:
        """Write an answer as one JSON body after `delay` seconds; call `before_send` right before."""
        headers = self._app_headers(finished=True)
        headers |= {"content-type": JSON, "vary": f"{_VARY}, Accept-Encoding"}
        await self._send_json(200, payload, headers, delay=delay, before_send=before_send)

    async def send_stream(self, frames: AsyncIterator[bytes]) -> None:
        """Write a stream; see `pace_chunks` for its frames."""
        headers = self._app_headers(finished=False)
        headers |= {"content-type": EVENT_STREAM, "vary": _VARY}
        await self.send_chunks(200, headers, frames)

    async def send_chunks(
        self,
        status: int,
        headers: Mapping[str, str],
        chunks: AsyncIterator[bytes],
        *,
        after_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Write a response.

        Args:
            status: HTTP status.
            headers: All headers except `date` and `server`.
            chunks: The body; each item is written at once, as a separate chunk.
            after_end: Function that is called right after the end of the body is written.
        """
        await self._run_while_connected(self._send_response(status, headers, chunks, after_end))

    async def pace_chunks(
        self,
        chunks: Iterable[bytes],
        pace: float = 0.0,
        *,
        before_chunk: Mapping[int, Callable[[], None]] = MappingProxyType({}),
        stall_after: int | None = None,
        cut_after: int | None = None,
    ) -> AsyncIterator[bytes]:
        """Yield chunks, each after `pace` seconds, and count those that were sent.

        Args:
            chunks: The chunks.
            pace: Seconds before each chunk.
            before_chunk: Callbacks by the number of a chunk, from 1, each called just before that
                chunk is written.
            stall_after: Stop after this many chunks, and wait for the client to disconnect.
            cut_after: Drop the connection after this many chunks.
        """
        limits = [limit for limit in (stall_after, cut_after) if limit is not None]
        sent_count = 0
        for chunk in itertools.islice(chunks, min(limits, default=None)):
            # Even a pause of 0 lets the event loop detect that the client has disconnected.
            await asyncio.sleep(pace)
            sent_count += 1
            if sent_count in before_chunk:
                before_chunk[sent_count]()
            yield chunk
            self.record.frames_sent += 1
        if sent_count == cut_after:
            self.connection.close()
        if sent_count in limits:
            await wait_forever()

    async def abort(self) -> None:
        """Drop the connection without sending a reply."""
        self.connection.close()
        await self._run_while_connected(wait_forever())

    async def send_raw(self, pieces: AsyncIterator[bytes]) -> None:
        """Write bytes directly to the connection, then close it."""

        async def send_pieces() -> None:
            async for piece in pieces:
                self.connection.write(piece)
                await self.connection.drain()

        await self._run_while_connected(send_pieces())
        self.connection.close()
        # Otherwise, the server would send its own response.
        await self._wait_for_disconnect()

    async def _send_response(
        self,
        status: int,
        headers: Mapping[str, str],
        body: AsyncIterator[bytes],
        after_end: Callable[[], None] = lambda: None,
    ) -> None:
        all_headers = add_common_headers(headers)
        raw_headers = [(name.lower().encode(), value.encode()) for name, value in all_headers.items()]
        self.record.status = status
        await self.send({"type": "http.response.start", "status": status, "headers": raw_headers})
        async for chunk in body:
            await self.send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})
        after_end()

    async def _send_json(
        self,
        status: int,
        payload: Mapping[str, Any],
        headers: Mapping[str, str],
        *,
        delay: float = 0.0,
        before_send: Callable[[], None] | None = None,
    ) -> None:
        content = encode_json(payload)
        if "gzip" in self.headers.get("accept-encoding", ""):
            content = gzip.compress(content, mtime=0)
            headers = {**headers, "content-encoding": "gzip"}

        async def send_after_delay() -> None:
            await asyncio.sleep(delay)
            if before_send is not None:
                before_send()
            await self._send_response(
                status, {**headers, **self._timing_headers()}, self.pace_chunks([content])
            )

        await self._run_while_connected(send_after_delay())

    async def _run_while_connected(self, sending: Coroutine[Any, Any, None]) -> None:
        """Run `sending`, but cancel it when the client disconnects."""
        send_task = asyncio.ensure_future(sending)
        disconnect_task = asyncio.ensure_future(self._wait_for_disconnect())
        try:
            await asyncio.wait({send_task, disconnect_task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            finished = send_task.done() and not send_task.cancelled() and not send_task.exception()
            self.on_end()
            self.record.end(finished=finished)
            send_task.cancel()
            disconnect_task.cancel()
            await asyncio.wait({send_task, disconnect_task})
        if not send_task.cancelled():
            send_task.result()

    async def _wait_for_disconnect(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def _app_headers(self, *, finished: bool) -> dict[str, str]:
        return {
            "x-request-id": self.request_id,
            "x-dashscope-timeout": "180",
            "x-dashscope-finished": "true" if finished else "false",
            **self._timing_headers(),
        }

    def _timing_headers(self) -> dict[str, str]:
        now = time.time_ns() // 1_000_000
        elapsed_ms = str(now - self.arrived_ms)
        return {
            "x-dashscope-call-gateway": "true",
            "req-cost-time": elapsed_ms,
            "req-arrive-time": str(self.arrived_ms),
            "resp-start-time": str(now),
            "x-envoy-upstream-service-time": elapsed_ms,
        }


async def read_request(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    requests: list[RecordedRequest],
    find_connection: FindConnection,
) -> HttpExchange | None:
    """Read and record a request; return None if the client has disconnected."""
    request = Request(scope, receive)
    try:
        content = await request.body()
    except ClientDisconnect:
        return None
    headers = request.headers.items()
    record = record_request(
        request.method,
        request.url.path,
        headers,
        content,
        query=request.query_params.multi_items(),
        app_id=scope.get("path_params", {}).get("app_id"),
    )
    requests.append(record)
    client: tuple[str, int] = scope["client"]
    return HttpExchange(record, dict(headers), content, receive, send, find_connection(client))


def add_common_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a response together with `date` and `server`."""
    return {"date": formatdate(usegmt=True), "server": "bailian-emulator", **headers}


async def wait_forever() -> None:
    """Wait until the task is cancelled."""
    await asyncio.Event().wait()
