"""Reads an HTTP/1.1 request's body so that the next request on the connection starts where it should."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from email.message import Message
from typing import BinaryIO

MAX_BODY_BYTES = 10 * 1024 * 1024  # API Gateway's limit
MAX_CHUNK_LINE = 4096
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 64 * 1024 * 1024
_HEXADECIMAL = frozenset(b"0123456789abcdefABCDEF")


class BadFraming(ValueError):
    """It cannot be told where the body ends, so the connection cannot go on; `status` is the answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class BodyTooLarge(ValueError):
    """The body is over MAX_BODY_BYTES; it was not read."""


def read_body(headers: Message, source: BinaryIO, go_on: Callable[[], None]) -> bytes:
    """The body, decoded when it is chunked. `go_on` is called before the first byte is read."""
    encodings = headers.get_all("Transfer-Encoding") or []
    lengths = headers.get_all("Content-Length") or []
    if encodings:
        if lengths:
            raise BadFraming("Transfer-Encoding and Content-Length in one request")
        if [value.strip().lower() for value in encodings] != ["chunked"]:
            raise BadFraming(f"Transfer-Encoding {', '.join(encodings)!r} is not supported", 501)
        go_on()
        return _read_chunks(source)
    length = _length(lengths)
    if length > MAX_BODY_BYTES:
        raise BodyTooLarge
    if length == 0:
        return b""
    go_on()
    return _read_exactly(source, length)


def linger(connection: socket.socket, source: BinaryIO) -> None:
    """Let a client that is still sending read the answer: closing at once would reset the connection.

    What it sends is thrown away, for a bounded time and amount.
    """
    deadline = time.monotonic() + _LINGER_SECONDS
    left = _LINGER_BYTES
    try:
        connection.shutdown(socket.SHUT_WR)
        while left > 0 and (seconds := deadline - time.monotonic()) > 0:
            connection.settimeout(seconds)
            read = len(source.read1(1 << 16))  # type: ignore[attr-defined]
            if read == 0:
                return
            left -= read
    except OSError:
        return


def _length(values: list[str]) -> int:
    distinct = {part.strip() for value in values for part in value.split(",")}
    if not distinct:
        return 0
    text = distinct.pop()
    if distinct or not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BadFraming(f"Content-Length {', '.join(values)!r} is not a length")
    return int(text)


def _read_chunks(source: BinaryIO) -> bytes:
    body = bytearray()
    while size := _chunk_size(source):
        if len(body) + size > MAX_BODY_BYTES:
            raise BodyTooLarge
        body += _read_exactly(source, size)
        if _read_exactly(source, 2) != b"\r\n":
            raise BadFraming("a chunk does not end where its size says")
    for _ in range(64):  # trailers
        if _line(source) == b"":
            return bytes(body)
    raise BadFraming("too many trailers")


def _chunk_size(source: BinaryIO) -> int:
    digits = _line(source).partition(b";")[0].strip()
    if not digits or len(digits) > 16 or not _HEXADECIMAL.issuperset(digits):
        raise BadFraming("a chunk's size is not a hexadecimal number")
    return int(digits, 16)


def _line(source: BinaryIO) -> bytes:
    line = source.readline(MAX_CHUNK_LINE)
    if not line.endswith(b"\r\n"):
        raise BadFraming("a line of the chunked body does not end")
    return line[:-2]


def _read_exactly(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise BadFraming("the body ended early")
    return data
