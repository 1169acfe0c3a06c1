"""Records as container runtimes write them, for all that reads them."""

from __future__ import annotations

from datetime import datetime


def _fields(time: str, log: str, stream: str = "stdout", logtag: str = "F") -> dict[str, str]:
    return {"time": time, "stream": stream, "logtag": logtag, "log": log}


_AT = "2026-01-02T03:04:05.006007008Z"
# By what is special about it: a record without its line feed, and its fields; None when it is no record.
CRI_LINES: dict[str, tuple[bytes, dict[str, str] | None]] = {
    "plain": (f"{_AT} stdout F hello".encode(), _fields(_AT, "hello")),
    "stderr": (f"{_AT} stderr F oh no".encode(), _fields(_AT, "oh no", stream="stderr")),
    "a part": (f"{_AT} stdout P {'x' * 16384}".encode(), _fields(_AT, "x" * 16384, logtag="P")),
    "further tags": (f"{_AT} stdout P:more x".encode(), _fields(_AT, "x", logtag="P")),
    "an empty line": (f"{_AT} stdout F ".encode(), _fields(_AT, "")),
    "spaces": (f"{_AT} stdout F   a  b ".encode(), _fields(_AT, "  a  b ")),
    "another record": (f"{_AT} stdout F {_AT} stderr P x".encode(), _fields(_AT, f"{_AT} stderr P x")),
    "a carriage return": (f"{_AT} stdout F 50%\r100%\r".encode(), _fields(_AT, "50%\r100%\r")),
    "a NUL": (f"{_AT} stdout F a\0b".encode(), _fields(_AT, "a\0b")),
    "quotes": (f'{_AT} stdout F "a\\b"\t\x7f\x1b[0m'.encode(), _fields(_AT, '"a\\b"\t\x7f\x1b[0m')),
    "Chinese": (f"{_AT} stdout F 训练 😀".encode(), _fields(_AT, "训练 😀")),
    "invalid UTF-8": (f"{_AT} stdout F ".encode() + b"\xffa\xe4\xb8", _fields(_AT, "\ufffda\ufffd")),
    "trailing zeros left out": (
        b"2026-01-02T03:04:05.1Z stdout F x",
        _fields("2026-01-02T03:04:05.1Z", "x"),
    ),
    "no fraction": (b"2026-01-02T03:04:05Z stdout F x", _fields("2026-01-02T03:04:05Z", "x")),
    "no tag": (f"{_AT} stdout x".encode(), None),
    "no time": (b"yesterday stdout F x", None),
    "another stream": (f"{_AT} stdlog F x".encode(), None),
    "an impossible time": (b"2026-13-01T00:00:00Z stdout F x", None),
    "nothing": (b"", None),
}


def line(moment: datetime, text: str, stream: str = "stdout", logtag: str = "F") -> bytes:
    """A whole record, written at `moment` (in UTC)."""
    time = moment.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    return f"{time} {stream} {logtag} {text}\n".encode()
