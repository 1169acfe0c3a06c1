"""DynamoDB's expressions, as far as the store uses them: conditions, filters, keys, updates.

What is not known here raises: a table that guesses would prove nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

Item = Mapping[str, Mapping[str, Any]]
Names = Mapping[str, str]
Test = Callable[[Item, Mapping[str, Any], Names], bool]
Operand = Callable[[Item, Mapping[str, Any], Names], Any]

_TOKEN = re.compile(r"\s*(<=|>=|<>|[=<>(),]|[#:]?\w+)")
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: bool(a == b),
    "<>": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}


@lru_cache
def condition(text: str) -> Test:
    """The test that a condition, a filter or a key condition stands for."""
    parser = _Parser(text)
    test = parser.any_of()
    parser.expect_end()
    return test


def changed(item: Item, text: str, values: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """The item after an update expression of SET and ADD."""
    after = {name: dict(value) for name, value in item.items()}
    for verb, clauses in re.findall(r"\b(SET|ADD)\b(.*?)(?=\b(?:SET|ADD)\b|$)", text):
        for clause in clauses.split(","):
            name, value = (word.strip() for word in (clause.split("=") if verb == "SET" else clause.split()))
            name = names[name] if name.startswith("#") else name
            if verb == "SET":
                after[name] = dict(values[value])
            else:
                before = Decimal(after.get(name, {"N": "0"})["N"])
                after[name] = {"N": str(before + Decimal(values[value]["N"]))}
    return after


def plain(value: Mapping[str, Any] | None) -> Any:
    """An attribute's value, of a type of Python's for each of DynamoDB's; None: there is none."""
    if value is None:
        return None
    ((kind, content),) = value.items()
    return Decimal(content) if kind == "N" else content


class _Parser:
    def __init__(self, text: str) -> None:
        self._words = _TOKEN.findall(text)
        if "".join(self._words) != re.sub(r"\s", "", text):
            raise ValueError(f"not an expression that is known here: {text}")

    def any_of(self) -> Test:
        tests = [self._all_of()]
        while self._take("OR"):
            tests.append(self._all_of())
        return lambda *about: any(test(*about) for test in tests)

    def expect_end(self) -> None:
        if self._words:
            raise ValueError(f"not understood: {self._words}")

    def _all_of(self) -> Test:
        tests = [self._one()]
        while self._take("AND"):
            tests.append(self._one())
        return lambda *about: all(test(*about) for test in tests)

    def _one(self) -> Test:
        if self._take("("):
            inner = self.any_of()
            self._expect(")")
            return inner
        word = self._next()
        if self._take("("):
            return self._function(word)
        left = _operand(word)
        operator = self._next()
        if operator == "BETWEEN":
            low = _operand(self._next())
            self._expect("AND")
            high = _operand(self._next())
            return lambda *about: left(*about) is not None and low(*about) <= left(*about) <= high(*about)
        compare, right = _COMPARE[operator], _operand(self._next())
        # As DynamoDB has it, a comparison with what is not there does not hold.
        return lambda *about: left(*about) is not None and compare(left(*about), right(*about))

    def _function(self, name: str) -> Test:
        about = _operand(self._next())
        if name in ("attribute_exists", "attribute_not_exists"):
            self._expect(")")
            return lambda *given: (about(*given) is not None) is (name == "attribute_exists")
        self._expect(",")
        other = _operand(self._next())
        self._expect(")")
        if name == "contains":
            return lambda *given: other(*given) in (about(*given) or "")
        if name == "begins_with":
            return lambda *given: str(about(*given) or "").startswith(other(*given))
        raise ValueError(f"{name} is not known here")

    def _next(self) -> str:
        return str(self._words.pop(0))

    def _take(self, word: str) -> bool:
        if self._words[:1] == [word]:
            self._words.pop(0)
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise ValueError(f"{word} expected before {self._words}")


def _operand(word: str) -> Operand:
    if word.startswith(":"):
        return lambda _item, values, _names: plain(values[word])
    if word.startswith("#"):
        return lambda item, _values, names: plain(item.get(names[word]))
    return lambda item, _values, _names: plain(item.get(word))
