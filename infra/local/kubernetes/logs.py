"""Container logs, read as `kubectl logs` asks; the end of a huge file costs no more than a small one's."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from infra.local.kubernetes.values import parse_time

_BLOCK = 65536


@dataclass(frozen=True)
class Options:
    tail: int | None = None
    since: datetime | None = None
    timestamps: bool = False
    limit: int | None = None


class LogReader:
    """Reads on from where it was, whole lines only, so that following is reading again."""

    def __init__(self, path: Path, options: Options) -> None:
        self._path = path
        self._options = options
        self._left = options.limit
        self._offset: int | None = None
        self._midline = False

    @property
    def exhausted(self) -> bool:
        return self._left is not None and self._left <= 0

    def read(self) -> Iterator[bytes]:
        """All that is there now, in pieces."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            if self._offset is None:
                self._offset = 0 if self._options.tail is None else _tail_offset(file, self._options.tail)
            file.seek(self._offset)
            piece = bytearray()
            for line in file:
                if not line.endswith(b"\n") or self.exhausted:
                    break
                self._offset += len(line)
                piece += self._cut(self._render(line))
                if len(piece) >= _BLOCK:
                    yield bytes(piece)
                    piece.clear()
            if piece:
                yield bytes(piece)

    def _render(self, line: bytes) -> bytes:
        moment, _, rest = line.partition(b" ")
        _, _, rest = rest.partition(b" ")
        flag, _, text = rest.partition(b" ")
        if self._options.since is not None and parse_time(moment.decode()) < self._options.since:
            return b""
        text = text if flag == b"F" else text[:-1]
        if self._options.timestamps and not self._midline:
            text = moment + b" " + text
        self._midline = flag != b"F"
        return text

    def _cut(self, text: bytes) -> bytes:
        if self._left is None:
            return text
        text = text[: self._left]
        self._left -= len(text)
        return text


def _tail_offset(file: BinaryIO, lines: int) -> int:
    """Where the last `lines` lines start, found from the end of the file."""
    if os.fstat(file.fileno()).st_size == 0:
        return 0
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        end, seen = text.rfind(b"\n"), 0
        while end >= 0:
            before = text.rfind(b"\n", 0, end)
            whole = text[before + 1 : min(end, before + 48)].split(b" ", 3)[2:3] == [b"F"]
            seen += whole  # and not a part of a longer line
            if seen > lines:
                return end + 1
            end = before
    return 0
