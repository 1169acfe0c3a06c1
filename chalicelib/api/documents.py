"""Job files as text: JSON and YAML become the same values, and each value's line is known.

YAML is read by its 1.2 core schema: `no`, `on` and dates are text, as people mean them. Anchors and `<<` are
there for lists whose jobs have much in common; what they expand to is bounded. Events are read one by one, so
that neither depth nor aliases cost anything before they are refused. So must be what would not fit into the
function's memory: a file that took the function down would come again.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from chalicelib.api import strict_json
from chalicelib.api.messages import show
from chalicelib.api.strict_json import MAX_PATH, BadNumber, Object, join
from chalicelib.errors import FieldError, InvalidRequest

MAX_DEPTH = 40  # of YAML: a job's own 32 levels, the list around it, and some
MAX_VALUES = 500_000  # with what aliases repeat
# A path longer than MAX_PATH has the line of what it is in.
FILE = "file"  # what errors of the text as a whole are reported on

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')
LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_STRING = "tag:yaml.org,2002:str"
_WORDS: Mapping[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_REAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_A_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Document:
    """A file's values and the lines, from 1, of their paths (`[2].resources.cpu`)."""

    value: Any
    lines: Mapping[str, int]

    def line_of(self, path: str) -> int | None:
        """The line of a path, or of what it is to be in: a field that is missing has none of its own."""
        if len(path) > MAX_PATH:
            path = _around(path[:MAX_PATH])
        while path not in self.lines and path:
            path = _around(path)
        return self.lines.get(path)


def read_json(raw: bytes) -> Document:
    """Raises InvalidRequest when the text is not JSON."""
    text = _decoded(raw)
    if text.count(",") + text.count("[") + text.count("{") >= MAX_VALUES and _count(text) > MAX_VALUES:
        raise _refused("too_many_values", high=MAX_VALUES)
    return Document(strict_json.load(text.encode()), _json_lines(text))


def read_yaml(raw: bytes, loader: Any = LOADER) -> Document:
    """Several documents are a list of them. Raises InvalidRequest when the text is not YAML."""
    text = _decoded(raw)
    try:
        return _Reader().read(_events(loader, text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = {"line": mark.line + 1, "column": mark.column + 1} if mark else {"line": 1, "column": 1}
        raise _refused("yaml_syntax", **at, why=show(error.problem or error.context or "")) from error
    except yaml.reader.ReaderError as error:
        # libyaml counts bytes, PyYAML's own reader characters
        before = text if loader is yaml.BaseLoader else text.encode().decode("latin-1")
        line = before.count("\n", 0, error.position) + 1
        raise _refused("yaml_syntax", line=line, column=1, why=error.reason) from error
    except ValueError as error:  # PyYAML's own scanner lets out what `chr` says of "\\U00110000"
        raise _refused("yaml_syntax", line=1, column=1, why=show(str(error))) from error


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _refused("json_encoding", line=line, offset=error.start) from error


def _around(path: str) -> str:
    """The path of what holds that one."""
    return path[: max(path.rfind("."), path.rfind("["), 0)]


def _refused(problem: str, **allowed: Any) -> InvalidRequest:
    return InvalidRequest([FieldError(FILE, problem, None, allowed)])


def _count(text: str) -> int:
    """How many values a text has that is JSON: its tokens but for marks and keys; a key has a colon."""
    tokens = (match[0] for match in _TOKEN.finditer(text))
    return sum(-(token == ":") if token in ",:]}" else 1 for token in tokens)


def _json_lines(text: str) -> Mapping[str, int]:
    """The line of every path of a text that is JSON."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    lines: dict[str, int] = {}
    stack: list[_Level] = [_Level("", is_list=False, key="")]  # the file itself, as the value of no key
    for match in _TOKEN.finditer(text):
        token, level = match[0], stack[-1]
        if token in ",:":
            continue
        if token in "]}":
            stack.pop()
            stack[-1].close()
            continue
        line = bisect_right(starts, match.start())
        if level.wants_key:
            level.key = json.loads(token)
            if (path := level.next_path) is not None:
                lines[path] = line
            continue
        path = level.next_path
        if path is not None:
            lines.setdefault(path, line)
        if token in "[{":
            stack.append(_Level(path, is_list=token == "["))
        else:
            level.close()
    return lines


@dataclass(slots=True)
class _Level:
    """A list or an object that is being read."""

    path: str | None
    is_list: bool
    key: str | None = None
    index: int = 0
    items: list[Any] = field(default_factory=list)
    merged: list[Any] = field(default_factory=list)
    pairs: list[tuple[str, Any]] = field(default_factory=list)
    size: int = 1
    anchor: str | None = None

    @property
    def wants_key(self) -> bool:
        return not self.is_list and self.key is None

    @property
    def next_path(self) -> str | None:
        """None when it is so long that its line is not kept."""
        part = self.index if self.is_list else self.key or ""
        if self.path is None or len(self.path) + len(str(part)) > MAX_PATH:
            return None
        return join(self.path, part)

    def close(self) -> None:
        """The value of that index or key has been read."""
        self.index, self.key = self.index + 1, None


class _Reader:
    """Builds values out of YAML's events."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._values = 0

    def read(self, events: Iterator[Any]) -> Document:
        file = _Level("", is_list=True)
        documents = 0
        stack = [file]
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents, self._anchors = documents + 1, {}
            else:
                self._take(event, stack)
        if documents == 1:
            self._lines = {path.removeprefix("[0]").removeprefix("."): n for path, n in self._lines.items()}
            return Document(file.items[0], self._lines)
        return Document(file.items, {"": 1, **self._lines})

    def _take(self, event: Any, stack: list[_Level]) -> None:
        line = event.start_mark.line + 1
        level = stack[-1]
        if isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
            value: Any = level.items if level.is_list else self._object(level)
            self._add(stack[-1], value, level.size, level.anchor)
            return
        if level.wants_key:
            if not isinstance(event, yaml.ScalarEvent):
                raise _refused("yaml_key", line=line)
            level.key = event.value
            if (path := level.next_path) is not None:
                self._lines[path] = line
            return
        if (path := level.next_path) is not None:
            self._lines.setdefault(path, line)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _refused("yaml_syntax", line=line, column=1, why=show(f"unknown alias {event.anchor}"))
            value, size = self._anchors[event.anchor]
            self._values += size - 1  # beside the one that it is
            self._add(level, value, size)
        elif event.tag not in (None, _STRING):
            raise _refused("yaml_tag", line=line, tag=show(event.tag))
        elif isinstance(event, yaml.ScalarEvent):
            value = _scalar(event.value) if event.implicit[0] else event.value
            self._add(level, value, 1, event.anchor)
        else:
            if len(stack) > MAX_DEPTH:
                raise _refused("json_depth", line=line, high=MAX_DEPTH)
            is_list = isinstance(event, yaml.SequenceStartEvent)
            stack.append(_Level(level.next_path, is_list=is_list, anchor=event.anchor))

    def _add(self, level: _Level, value: Any, size: int, anchor: str | None = None) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _refused("too_many_values", high=MAX_VALUES)
        if anchor is not None:
            self._anchors[anchor] = (value, size)
        if level.is_list:
            level.items.append(value)
        elif level.key == "<<":
            level.merged += value if isinstance(value, list) else [value]
        else:
            level.pairs.append((level.key or "", value))
        level.size += size
        level.close()

    def _object(self, level: _Level) -> Object:
        """The mapping with what `<<` names below its own keys; of several the first one counts."""
        if any(not isinstance(one, Object) for one in level.merged):
            line = self._lines.get(join(level.path or "", "<<"))
            raise _refused("yaml_merge", line=line, path=show(level.path or FILE))
        own = Object(level.pairs)
        for one in level.merged:
            for key, value in one.items():
                own.setdefault(key, value)
        return own


def _events(loader_class: Any, text: str) -> Iterator[Any]:
    loader = loader_class(text)
    skipped = (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentEndEvent)
    try:
        while loader.check_event():
            event = loader.get_event()
            if not isinstance(event, skipped):
                yield event
    finally:
        loader.dispose()


def _scalar(text: str) -> Any:
    """A plain scalar by the core schema (YAML 1.2, 10.3.2), but for octal and hexadecimal numbers."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return strict_json.integer(text)
    if _REAL.fullmatch(text):
        return strict_json.real(text)
    return BadNumber(text, "json_not_a_number") if _NOT_A_NUMBER.fullmatch(text) else text
