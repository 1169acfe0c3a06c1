"""What DynamoDB's requests cost, in its own units, by the rules that its developer guide gives.

"Read and write operations" and "Global secondary indexes: write operations"; sizes by "Item sizes and
formats". No emulator answers `ReturnConsumedCapacity` by them.
"""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Item = Mapping[str, Mapping[str, Any]]

READ_BYTES = 4096
WRITE_BYTES = 1024
PAGE_BYTES = 1024 * 1024  # of a query: it then wants to be asked for the next page
STORED_BYTES = 100  # that an item takes beside its own, and each of its entries in indexes too


@dataclass(frozen=True, slots=True)
class Index:
    """A sparse index: its partition's attribute, and all that its entries hold."""

    key: str
    attributes: frozenset[str]

    def entry(self, item: Item | None) -> Item | None:
        """What it holds of an item; None: nothing."""
        if item is None or self.key not in item:
            return None
        return {name: value for name, value in item.items() if name in self.attributes}


def indexes(table: Mapping[str, Any]) -> list[Index]:
    """Those of a table, by its properties in CloudFormation."""
    own = {key["AttributeName"] for key in table["KeySchema"]}
    found = []
    for index in table["GlobalSecondaryIndexes"]:
        keys = [key["AttributeName"] for key in index["KeySchema"]]
        shown = index["Projection"].get("NonKeyAttributes", ())
        found.append(Index(keys[0], frozenset({*own, *keys, *shown})))
    return found


def size(item: Item | None) -> int:
    """In bytes: names and values in UTF-8; a number has a byte for two digits, and one more."""
    return sum(len(name.encode()) + _value(value) for name, value in (item or {}).items())


def read(size_in_bytes: int, *, consistent: bool) -> float:
    """The units of one item, or of one query's page. Looking for what is not there costs as much as the
    least that is."""
    return max(1, math.ceil(size_in_bytes / READ_BYTES)) * (1.0 if consistent else 0.5)


def write(before: Item | None, after: Item | None, *, transactional: bool) -> int:
    """The units of the table itself; `after` None: the item goes. A ConditionCheck costs what a write of
    the item would, and so does a write whose condition does not hold."""
    largest = max(size(before), size(after))
    return max(1, math.ceil(largest / WRITE_BYTES)) * (2 if transactional else 1)


def index_writes(of: Sequence[Index], before: Item | None, after: Item | None) -> Iterator[int]:
    """The units of each write to an index. They come after the transaction, which does not double them."""
    for index in of:
        old, new = index.entry(before), index.entry(after)
        if old == new:
            continue
        moves = old is not None and new is not None and old[index.key] != new[index.key]
        for changed in ((old, None), (None, new)) if moves else ((old, new),):
            yield write(*changed, transactional=False)


def stored(of: Sequence[Index], item: Item) -> int:
    """The bytes that an item takes in the table and in its indexes."""
    entries = [entry for index in of if (entry := index.entry(item)) is not None]
    return sum(size(one) + STORED_BYTES for one in (item, *entries))


def _value(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "N":
        digits = len(str(content).lstrip("-").replace(".", "").strip("0"))
        return math.ceil(digits / 2) + 1
    return len(b64decode(content)) if kind == "B" else len(str(content).encode())
