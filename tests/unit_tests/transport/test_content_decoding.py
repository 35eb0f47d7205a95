"""Tests for the decoding of compressed responses."""

from __future__ import annotations

import gzip
import itertools
import zlib
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_bailian_app._transport.content_decoding import (
    ContentDecoder,
    check_content_encoding,
    decode_response,
)
from tests.fixtures import compress_zeros, measure_peak_memory, split_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MEBIBYTE = 2**20
TEXT = "泡茶的水".encode() * 50


def compress_raw(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def decode(encoding: str, data: bytes, cuts: Iterable[int] = ()) -> bytes:
    decoder = ContentDecoder(encoding)
    return b"".join(decoded for piece in split_at(data, cuts) for decoded in decoder.decode(piece))


class Body(httpx.SyncByteStream):
    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces

    def close(self) -> None:
        self.is_closed = True


ENCODED = [
    pytest.param("gzip", gzip.compress(TEXT), id="gzip"),
    pytest.param("gzip", gzip.compress(TEXT) + b"\0\0\0", id="gzip and padding"),
    pytest.param("deflate", zlib.compress(TEXT), id="deflate"),
    pytest.param("deflate", zlib.compress(TEXT, level=0), id="deflate, not compressed"),
    pytest.param("deflate", compress_raw(TEXT), id="deflate without a header"),
]


@pytest.mark.parametrize(("encoding", "data"), ENCODED)
def test_an_encoded_body_is_decoded_however_it_is_cut(encoding: str, data: bytes) -> None:
    assert decode(encoding, data) == TEXT
    assert decode(encoding, data, range(len(data))) == TEXT


@given(st.binary(), st.lists(st.integers(0, 200)), st.sampled_from(["gzip", "deflate"]))
def test_any_body_is_decoded(body: bytes, cuts: list[int], encoding: str) -> None:
    data = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)

    assert decode(encoding, data, [cut for cut in cuts if cut <= len(data)]) == body


@given(st.binary(), st.sampled_from(["gzip", "deflate"]))
def test_garbage_is_a_decoding_error_at_most(data: bytes, encoding: str) -> None:
    try:
        decode(encoding, data)
    except httpx.DecodingError as error:
        assert str(error).startswith(f"invalid {encoding} data: ")  # noqa: PT017


def test_data_in_the_wrong_format_is_a_decoding_error() -> None:
    with pytest.raises(httpx.DecodingError, match="invalid gzip data"):
        decode("gzip", b"<html>")


def test_a_truncated_body_has_the_text_up_to_its_end() -> None:
    assert TEXT.startswith(decode("gzip", gzip.compress(TEXT)[:-9]))


def test_a_gigabyte_of_zeros_is_decoded_in_pieces_of_64_kib() -> None:
    decoder = ContentDecoder("gzip")
    data = compress_zeros(1024)
    assert len(data) < 1.1 * MEBIBYTE
    pieces = decoder.decode(data)
    sizes: set[int] = set()

    def read_100_mebibytes() -> None:
        sizes.update(len(piece) for piece in itertools.islice(pieces, 1600))

    assert measure_peak_memory(read_100_mebibytes) < 4 * MEBIBYTE
    assert sizes == {2**16}


def test_nothing_is_kept_after_the_end_of_the_encoded_data() -> None:
    decoder = ContentDecoder("gzip")
    assert b"".join(decoder.decode(gzip.compress(TEXT))) == TEXT

    def read_padding() -> None:
        for _ in range(100):
            assert list(decoder.decode(bytes(2**16))) == []

    assert measure_peak_memory(read_padding) < MEBIBYTE


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([("content-encoding", "")], None),
        ([("content-encoding", "identity")], None),
        ([("content-encoding", "GZIP")], "gzip"),
        ([("content-encoding", "identity, deflate")], "deflate"),
    ],
)
def test_one_encoding_is_accepted(headers: list[tuple[str, str]], expected: str | None) -> None:
    assert check_content_encoding(httpx.Response(200, headers=headers)) == expected


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ([("content-encoding", "gzip, gzip")], "gzip, gzip"),
        ([("content-encoding", "gzip"), ("Content-Encoding", "deflate")], "gzip, deflate"),
        ([("content-encoding", "br")], "br"),
        ([("content-encoding", "gzip," * 1000)], "gzip, gzip, gzip"),
    ],
)
def test_stacked_and_other_encodings_are_rejected(headers: list[tuple[str, str]], shown: str) -> None:
    with pytest.raises(
        httpx.DecodingError, match=f"expected identity, gzip or deflate, got {shown}"
    ) as caught:
        check_content_encoding(httpx.Response(200, headers=headers))
    assert len(str(caught.value)) < 200


def test_a_response_without_encoding_keeps_its_body() -> None:
    body = Body(b"a")
    response = decode_response(httpx.Response(200, stream=body))

    assert response.stream is body


def test_a_response_is_decoded_once_and_closed() -> None:
    body = Body(gzip.compress(TEXT))
    headers = [("content-encoding", "gzip"), ("content-type", "text/plain")]
    response = decode_response(httpx.Response(200, headers=headers, stream=body))

    assert response.read() == TEXT
    assert list(response.headers) == ["content-type"]
    assert body.is_closed


def test_a_response_with_stacked_encodings_is_not_decoded() -> None:
    body = Body(b"a")
    response = httpx.Response(200, headers={"content-encoding": "gzip, gzip"}, stream=body)

    assert decode_response(response).stream is body
