"""HTTP clients for dashscope that read error responses themselves.

dashscope's parser raises errors of many classes for an odd error response: a `code` that is a JSON
object, an unknown charset, deeply nested JSON. Here, the same parser as for errors inside a stream
reads them, and every error response becomes dashscope's `APIStatusError`.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import httpx
from dashscope.v2 import errors as ds

from langchain_bailian_app._answer.frames import parse_error_response
from langchain_bailian_app._transport.content_decoding import check_content_encoding

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

MAX_ERROR_BODY_BYTES = 2**20
"""Size at which the body of an error is cut; the service sends less than 1 kB."""

_MIN_ERROR_STATUS = 400
# The content encoding is invalid, or a hook has closed the response.
_UNREADABLE = (httpx.DecodingError, httpx.StreamError)


_parse_url = lru_cache(maxsize=256)(httpx.URL)  # parsing takes longer than encoding a short request


class ErrorReadingClient:
    """The part of an `httpx.Client` that dashscope's `open_stream` uses."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def build_request(self, method: str, url: str, **kwargs: Any) -> httpx.Request:
        """Build a request with the client."""
        return self.client.build_request(method, _parse_url(url), **kwargs)

    def send(self, request: httpx.Request, *, stream: bool) -> httpx.Response:
        """Send a request and return the response.

        Raises:
            dashscope.v2.errors.APIStatusError: The response has an error status.
            httpx.RequestError: The request failed.
        """
        try:
            response = self.client.send(request, stream=stream)
        except (httpx.InvalidURL, UnicodeError) as exc:
            raise _redirect_error(exc) from None
        except httpx.HTTPStatusError as exc:
            response = exc.response  # a hook of a custom client has called `raise_for_status`
        if response.status_code < _MIN_ERROR_STATUS:
            return response
        content = bytearray()
        try:
            check_content_encoding(response)
            for data in response.iter_bytes():
                content += data
                if len(content) >= MAX_ERROR_BODY_BYTES:
                    break
        except _UNREADABLE:
            content.clear()
        finally:
            response.close()
        raise _error_from_response(response, content)

    def close(self) -> None:
        """Close the client."""
        self.client.close()


class AsyncErrorReadingClient:
    """The part of an `httpx.AsyncClient` that dashscope's `open_stream` uses."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    def build_request(self, method: str, url: str, **kwargs: Any) -> httpx.Request:
        """Build a request with the client."""
        return self.client.build_request(method, _parse_url(url), **kwargs)

    async def send(self, request: httpx.Request, *, stream: bool) -> httpx.Response:
        """Async version of `ErrorReadingClient.send`."""
        try:
            response = await self.client.send(request, stream=stream)
        except (httpx.InvalidURL, UnicodeError) as exc:
            raise _redirect_error(exc) from None
        except httpx.HTTPStatusError as exc:
            response = exc.response  # a hook of a custom client has called `raise_for_status`
        if response.status_code < _MIN_ERROR_STATUS:
            return response
        content = bytearray()
        try:
            check_content_encoding(response)
            # The timeout of the client only limits the wait for the next byte.
            seconds = request.extensions["timeout"]["read"]
            async with (
                asyncio.timeout(seconds),
                aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes())) as chunks,
            ):
                async for data in chunks:
                    content += data
                    if len(content) >= MAX_ERROR_BODY_BYTES:
                        break
        except _UNREADABLE:
            content.clear()
        except TimeoutError as exc:
            message = "the body of an error response is incomplete"
            raise httpx.ReadTimeout(message) from exc
        finally:
            await response.aclose()
        raise _error_from_response(response, content)

    async def aclose(self) -> None:
        """Close the client."""
        await self.client.aclose()


def _redirect_error(exc: httpx.InvalidURL | UnicodeError) -> httpx.RemoteProtocolError:
    """Return the error that httpx raises for most, but not all invalid addresses of a redirect."""
    return httpx.RemoteProtocolError(f"Invalid URL in location header: {exc}")


def _error_from_response(response: httpx.Response, content: bytearray) -> ds.APIStatusError:
    error = parse_error_response(bytes(content[:MAX_ERROR_BODY_BYTES]), response.status_code)
    return ds.APIStatusError(
        error.message,
        code=error.code,
        status_code=error.status,
        request_id=error.request_id or response.headers.get("x-request-id"),
        body=error.body,
        headers=response.headers,
    )
