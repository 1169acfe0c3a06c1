"""JSON as RFC 8259 has it, for bodies that strangers send.

Python's json takes NaN, numbers of any size, repeated keys and lone surrogates; all of them break something
later (DynamoDB, UTF-8, the caller's belief of what was stored). Here each becomes an error naming its field.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NoReturn, TypeAlias

from chalicelib.errors import FieldError, InvalidRequest

MAX_DEPTH = 32
MAX_PATH = 300  # characters of a path that an error keeps; callers are shown fewer
BODY = "body"  # what errors of the text as a whole are reported on

_Path: TypeAlias = tuple["_Path", str | int] | None  # each part with the path of what it is in


@dataclass(frozen=True, slots=True)
class BadNumber:
    """Stands where a number was that JSON, or a 64-bit integer, or a double cannot hold."""

    text: str
    problem: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Parsed:
    """A JSON object's fields, and what is wrong with the text below the level of its fields' types."""

    fields: Mapping[str, Any]
    errors: list[FieldError] = field(default_factory=list)


class Object(dict[str, Any]):
    """A JSON object that remembers which of its keys came twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(key for key, _ in pairs) if len(pairs) > len(self) else {}
        self.repeated = [key for key, count in counts.items() if count > 1]


def parse(raw: bytes) -> Parsed:
    """Parse one JSON object. Raises InvalidRequest when the text as a whole is not one."""
    return parsed(load(raw))


def parsed(value: Any) -> Parsed:
    """What was read as one JSON object's fields. Raises InvalidRequest when it is none."""
    if not isinstance(value, Object):
        raise InvalidRequest([FieldError(BODY, "json_not_object", _type_name(value))])
    return Parsed(value, list(_faults(value)))


def load(raw: bytes) -> Any:
    """Any JSON value, its objects as Object. Raises InvalidRequest when the text is not JSON."""
    try:
        text = raw.decode("utf-8")
        if "\ufffd" in text:  # API Gateway puts it where the bytes were not UTF-8
            return _refuse("json_encoding", offset=raw.index(b"\xef\xbf\xbd"))
        return json.loads(
            text,
            object_pairs_hook=Object,
            parse_int=integer,
            parse_float=real,
            parse_constant=lambda text: BadNumber(text, "json_not_a_number"),
        )
    except UnicodeDecodeError as error:
        return _refuse("json_encoding", error, offset=error.start)
    except json.JSONDecodeError as error:
        return _refuse("json_syntax", error, line=error.lineno, column=error.colno)
    except RecursionError as error:
        return _refuse("json_depth", error, high=MAX_DEPTH)


def join(path: str, part: str | int) -> str:
    """The path of a part as callers write it: `resources.cpu`, `command[2]`."""
    if isinstance(part, int):
        return f"{path}[{part}]"
    return f"{path}.{part}" if path else part


def integer(text: str) -> int | BadNumber:
    """A whole number in decimal digits, if 64 bits hold it."""
    if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**63:
        return BadNumber(text, "json_too_big")
    return value


def real(text: str) -> float | BadNumber:
    """A number, if a double holds it."""
    value = float(text)
    return value if math.isfinite(value) else BadNumber(text, "json_too_big")


def _refuse(problem: str, cause: Exception | None = None, **allowed: int) -> NoReturn:
    raise InvalidRequest([FieldError(BODY, problem, None, allowed)]) from cause


def _faults(root: Object) -> Iterator[FieldError]:
    # An explicit stack: the depth of what is walked is the caller's choice. Paths are written out for faults
    # only, and cut short: one long key above many values would make them larger than the memory.
    stack: list[tuple[_Path, Any, int]] = [(None, root, 1)]
    while stack:
        path, value, depth = stack.pop()
        if depth > MAX_DEPTH:
            _refuse("json_depth", high=MAX_DEPTH)
        if isinstance(value, BadNumber):
            yield FieldError(_written(path), value.problem, value)
        elif isinstance(value, str) and not is_unicode(value):
            yield FieldError(_written(path), "json_surrogate", value)
        elif isinstance(value, Object):
            yield from (FieldError(_written((path, key)), "json_repeated_key") for key in value.repeated)
            keys = (key for key in value if not is_unicode(key))
            yield from (FieldError(_written((path, key)), "json_surrogate") for key in keys)
            stack += [((path, key), part, depth + 1) for key, part in reversed(value.items())]
        elif isinstance(value, list):
            stack += [((path, i), part, depth + 1) for i, part in reversed(list(enumerate(value)))]


def _written(path: _Path) -> str:
    parts: list[str | int] = []
    while path is not None:
        path, part = path
        parts.append(part if isinstance(part, int) else part[:MAX_PATH])
    return reduce(join, reversed(parts), "")[:MAX_PATH]


def is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8: it holds no lone surrogate."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _type_name(value: Any) -> str:
    names: dict[type, str] = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
