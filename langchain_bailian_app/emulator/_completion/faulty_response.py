"""Sending of faulty responses: byte by byte, without an end, or together with other responses."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from langchain_bailian_app.emulator._apps.faults import FaultyResponse
from langchain_bailian_app.emulator._completion.persistence import TurnPersistence
from langchain_bailian_app.emulator._http.encoding import (
    LAST_CHUNK,
    encode_chunk,
    encode_chunk_size,
    encode_head,
)
from langchain_bailian_app.emulator._http.exchange import (
    EVENT_STREAM,
    JSON,
    HttpExchange,
    add_common_headers,
    wait_forever,
)

_CHUNK_EXTENSION = "drip=" + "x" * 295
_COMMENT = b":heartbeat\n\n"
_WHITE_SPACE = b"\n"  # valid after a JSON document
_INTERIM_RESPONSE = encode_head(102, {})
_RESPONSE_408 = encode_head(408, {"content-length": "0", "connection": "close"})

_TimedPiece: TypeAlias = tuple[float, bytes]
"""Seconds to wait, and the bytes to send then."""


@dataclass(eq=False)
class FaultyResponseSender:
    """Sends the response that a fault returned.

    Attributes:
        exchange: The exchange with the client.
        response: The response to send.
        persistence: Saves the turn just before the last bytes of the body are sent.
        pace: Seconds before each chunk that is not sent byte by byte.
        interval: See `Faults.interval`.
    """

    exchange: HttpExchange
    response: FaultyResponse
    persistence: TurnPersistence
    pace: float
    interval: float

    async def send(self) -> None:
        """Send the response."""
        exchange, response = self.exchange, self.response
        for _ in range(response.interim_responses):
            exchange.connection.write(_INTERIM_RESPONSE)
        if response.end == "reset":
            await exchange.abort()
        elif response.end == "interim-responses":
            await exchange.send_raw(self._repeat(_INTERIM_RESPONSE))
        elif response.drips in {"head", "chunk-extension"}:
            await exchange.send_raw(self._iter_raw_response())
        else:
            await exchange.send_chunks(
                response.status,
                self._build_headers(),
                self._iter_body(),
                after_end=self._send_unsolicited_response,
            )

    def _build_headers(self) -> dict[str, str]:
        content_type = self.response.content_type
        if content_type == EVENT_STREAM and not self.exchange.wants_stream:
            content_type = JSON
        return {
            "content-type": content_type,
            "x-request-id": self.exchange.request_id,
            **self.response.headers,
        }

    def _encode_head(self, **connection_headers: str) -> bytes:
        headers = add_common_headers(self._build_headers()) | {"transfer-encoding": "chunked"}
        return encode_head(self.response.status, headers | connection_headers)

    async def _iter_raw_response(self) -> AsyncIterator[bytes]:
        """Yield the bytes of a complete response: head, encoded chunks and end."""
        self.exchange.record.status = self.response.status
        head = self._encode_head(connection="close")
        for delay, piece in self._drip(head) if self.response.drips == "head" else [(0, head)]:
            await asyncio.sleep(delay)
            yield piece
        async for piece in self._iter_body():
            yield piece
        yield LAST_CHUNK

    async def _iter_body(self) -> AsyncIterator[bytes]:
        """Yield the pieces of the body, each at its time; save the turn just before the last one."""
        frames = self.response.chunks
        save_turn = (
            self.persistence.on_complete if self.response.is_complete else self.persistence.on_abort
        )
        for number, frame in enumerate(frames, start=1):
            *first_pieces, (last_delay, last_piece) = self._split_frame(number, frame)
            for delay, piece in first_pieces:
                await asyncio.sleep(delay)
                yield piece
            await asyncio.sleep(last_delay)
            if number == len(frames):
                save_turn()
            yield last_piece
            self.exchange.record.frames_sent += 1
        match self.response.end:
            case "abort":
                self.exchange.connection.close()
                await wait_forever()
            case "stall":
                await wait_forever()
            case "heartbeats":
                heartbeat = _COMMENT if self.exchange.wants_stream else _WHITE_SPACE
                async for piece in self._repeat(heartbeat):
                    yield piece

    def _split_frame(self, number: int, frame: bytes) -> Sequence[_TimedPiece]:
        """Return the pieces of a frame; a raw response contains encoded chunks."""
        drips = self.response.drips
        if drips is None:
            return [(self.pace, frame)]
        if drips == "body":
            return self._drip(frame)
        if drips == "chunk-extension" and number == (len(self.response.chunks) + 1) // 2:
            size_line = encode_chunk_size(len(frame), _CHUNK_EXTENSION)
            return [*self._drip(size_line), (self.pace, frame + b"\r\n")]
        return [(self.pace, encode_chunk(frame))]

    def _drip(self, data: bytes) -> Sequence[_TimedPiece]:
        return [(self.interval, data[i : i + 1]) for i in range(len(data))]

    async def _repeat(self, data: bytes) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(self.interval)
            yield data

    def _send_unsolicited_response(self) -> None:
        connection = self.exchange.connection
        if self.response.unsolicited_response == "copy":
            body = b"".join(map(encode_chunk, self.response.chunks))
            connection.write(self._encode_head() + body + LAST_CHUNK)
        elif self.response.unsolicited_response == "408":
            connection.close_unless_reused(_RESPONSE_408, self.interval)
