"""The lines of an answer that goes on for a while, as they come: one at once, and many together."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import ReadTimeoutError

MOST_TOGETHER = 100


def together(response: BaseHTTPResponse) -> Iterator[list[bytes]]:
    """The lines that have come by now, some hundred at most, until the body ends or nothing has come for as
    long as it may take. None waits for the next one."""
    rest = b""
    lines: list[bytes] = []
    try:
        with suppress(ReadTimeoutError):
            for chunk in response.stream():
                *whole, rest = (rest + chunk).split(b"\n")
                lines += filter(None, whole)
                if lines and (len(lines) >= MOST_TOGETHER or not _has_more(response)):
                    yield lines
                    lines = []
        if lines:
            yield lines
    finally:
        response.close()


def _has_more(response: BaseHTTPResponse) -> bool:
    """Whether more bytes have come than were read. A server sends each line in a chunk of its own, and what
    urllib3 read ahead of a chunk is out of sight: False may be wrong, and the lines then come one by one."""
    sock: Any = getattr(getattr(response, "connection", None), "sock", None)
    if sock is None:
        return False
    if getattr(sock, "pending", int)():  # of TLS: decrypted, and not read yet
        return True
    with suppress(OSError, ValueError):  # shut down, or closed, by another thread
        return bool(select.select([sock], [], [], 0)[0])
    return False
