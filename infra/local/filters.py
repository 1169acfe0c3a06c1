"""Event patterns, as an event source mapping's FilterCriteria uses them, so that the local outbox is called
for just the records that it is called for in AWS."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_ABSENT = object()


class UnknownPattern(ValueError):
    """A pattern uses something that is not known here."""


def parse(criteria: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], ...]:
    """The patterns of a FilterCriteria; none at all let everything through."""
    filters = (criteria or {}).get("Filters") or []
    return tuple(json.loads(entry["Pattern"]) for entry in filters)


def passes(record: Mapping[str, Any], patterns: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any of `patterns` matches. Raises UnknownPattern."""
    return not patterns or any(matches(pattern, record) for pattern in patterns)


def matches(pattern: Mapping[str, Any], value: Any) -> bool:
    """Whether every field of `pattern` matches its field of `value`; a list means any of its entries."""
    for key, wanted in pattern.items():
        if key == "$or":
            if not any(matches(alternative, value) for alternative in wanted):
                return False
            continue
        found = value.get(key, _ABSENT) if isinstance(value, Mapping) else _ABSENT
        if isinstance(wanted, Mapping):
            if not matches(wanted, found):
                return False
        elif not any(_is(rule, found) for rule in wanted):
            return False
    return True


def _is(rule: Any, found: Any) -> bool:
    values = found if isinstance(found, list) else [found]
    if not isinstance(rule, Mapping):
        return any(value is not _ABSENT and type(value) is type(rule) and value == rule for value in values)
    ((operator, operand),) = rule.items()
    texts = [value for value in values if isinstance(value, str)]
    match operator:
        case "exists":
            return (found is not _ABSENT) is operand
        case "prefix":
            return any(text.startswith(operand) for text in texts)
        case "suffix":
            return any(text.endswith(operand) for text in texts)
        case "equals-ignore-case":
            return any(text.lower() == operand.lower() for text in texts)
        case "anything-but":
            return found is not _ABSENT and not _is_excluded(operand, values)
        case "numeric":
            return any(_compares(operand, value) for value in values)
        case _:
            raise UnknownPattern(f"{operator!r}")


def _is_excluded(operand: Any, values: Sequence[Any]) -> bool:
    if isinstance(operand, Mapping):
        return _is(operand, list(values))
    excluded = operand if isinstance(operand, list) else [operand]
    return any(value in excluded for value in values)


def _compares(operand: Sequence[Any], value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    compare = {
        "=": value.__eq__,
        "<": value.__lt__,
        "<=": value.__le__,
        ">": value.__gt__,
        ">=": value.__ge__,
    }
    pairs = zip(operand[::2], operand[1::2], strict=True)
    return all(compare[sign](bound) is True for sign, bound in pairs)
