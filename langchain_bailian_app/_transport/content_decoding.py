"""Decoding of compressed responses, in pieces.

The requests ask for no encoding, but a server may send one anyway. httpx decodes the data of a read at
once, and any number of encodings on top of each other: 4 kB can become gigabytes. `decode_response`
decodes one encoding in pieces of 64 KiB. Their consumers limit the size of a frame and of an error.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_MAX_PIECE_BYTES = 2**16
_MAX_SHOWN_CHARS = 80
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_ZLIB_HEADER_BYTES, _ZLIB_METHOD, _ZLIB_CHECK = 2, 8, 31  # RFC 1950, section 2.2


def check_content_encoding(response: httpx.Response) -> str | None:
    """Return the encoding of the body, before it is read: `"gzip"`, `"deflate"` or None.

    Raises:
        httpx.DecodingError: The body has another encoding, or several.
    """
    values = response.headers.get_list("content-encoding", split_commas=True)
    encodings = [value.strip().lower() for value in values]
    encodings = [encoding for encoding in encodings if encoding not in {"", "identity"}]
    if not encodings:
        return None
    if len(encodings) > 1 or encodings[0] not in _WINDOW_BITS:
        message = (
            "unsupported content encoding: expected identity, gzip or deflate, got "
            f"{', '.join(encodings)[:_MAX_SHOWN_CHARS]}"
        )
        raise httpx.DecodingError(message)
    return encodings[0]


def decode_response(response: httpx.Response) -> httpx.Response:
    """Return a response of our transport, whose body is decoded in pieces.

    A response with an unsupported encoding is unchanged; `check_content_encoding` rejects it.
    """
    try:
        encoding = check_content_encoding(response)
    except httpx.DecodingError:
        return response
    if encoding is not None:
        response.stream = _DecodedBody(response.stream, ContentDecoder(encoding))
        del response.headers["content-encoding"]  # otherwise httpx would decode the body again
    return response


class ContentDecoder:
    """Incremental decoder of gzip or deflate. Its memory does not depend on the size of the output."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._start = b""
        self._decompressor: zlib._Decompress | None = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded bytes in pieces of at most 64 KiB.

        Data after the end is ignored, and a truncated body is not an error.

        Raises:
            httpx.DecodingError: The data is invalid.
        """
        if self._decompressor is None:
            data = self._start = self._start + data
            if len(data) < _ZLIB_HEADER_BYTES:
                return
            self._decompressor = zlib.decompressobj(_find_window_bits(self._encoding, data))
        piece = b""
        # More output may be available even if all input was consumed.
        while (data or len(piece) == _MAX_PIECE_BYTES) and not self._decompressor.eof:
            try:
                piece = self._decompressor.decompress(data, _MAX_PIECE_BYTES)
            except zlib.error as exc:
                message = f"invalid {self._encoding} data: {exc}"
                raise httpx.DecodingError(message) from exc
            data = self._decompressor.unconsumed_tail
            if piece:
                yield piece


def _find_window_bits(encoding: str, start: bytes) -> int:
    has_zlib_header = start[0] & 0x0F == _ZLIB_METHOD and int.from_bytes(start[:2]) % _ZLIB_CHECK == 0
    if encoding == "deflate" and not has_zlib_header:
        return -zlib.MAX_WBITS  # some servers omit the header
    return _WINDOW_BITS[encoding]


class _DecodedBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, body: Any, decoder: ContentDecoder) -> None:
        self._body, self._decoder = body, decoder

    def __iter__(self) -> Iterator[bytes]:
        for data in self._body:
            yield from self._decoder.decode(data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._body:
            for piece in self._decoder.decode(data):
                yield piece
                await asyncio.sleep(0)  # one read may contain hundreds of pieces

    def close(self) -> None:
        self._body.close()

    async def aclose(self) -> None:
        await self._body.aclose()
