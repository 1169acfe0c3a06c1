"""DynamoDB in memory, as far as the store uses it: conditions, transactions, sparse indexes, a stream.

moto is as faithful, but a thousand times too slow for simulations of thousands of runs; so the store's own
suite, which runs on moto and on MiniStack, runs on this too (test_table.py).
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.proof.expressions import Item, changed, condition
from tests.unit.store.support import cancelled, client_error, jobs_table

Key = tuple[str, str]
TOKENS_LAST = timedelta(minutes=10)
MAX_BYTES = 400 * 1024


@dataclass(frozen=True, slots=True)
class Write:
    """One item written: what the stream tells of it, and the image before, which only the proof sees."""

    number: int
    at: datetime
    key: Key
    before: Item | None
    after: Item | None


@dataclass
class FakeTable:
    """store.table.DynamoClient on one table. Indexes follow it by `index_lag`."""

    clock: Callable[[], datetime]
    index_lag: timedelta = timedelta(0)
    items: dict[Key, dict[str, Any]] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    listeners: list[Callable[[Write], None]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)  # by the sort keys of what conditions held back
    scanned: Sequence[Item] = ()  # what the last query read, whatever it then showed of it

    def __post_init__(self) -> None:
        self._entries: defaultdict[tuple[str, str], dict[Key, dict[str, Any]]] = defaultdict(dict)
        self._not_indexed_yet: deque[Write] = deque()
        self._tokens: dict[str, tuple[datetime, Any]] = {}
        indexes = jobs_table()["GlobalSecondaryIndexes"]
        self._index_keys = {index["IndexName"]: _schema(index["KeySchema"]) for index in indexes}
        self._projected = {index["IndexName"]: _projection(index) for index in indexes}

    def get_item(self, **request: Any) -> Mapping[str, Any]:
        item = self.items.get(_key(request["Key"]))
        return {} if item is None else {"Item": dict(item)}

    def batch_get_item(self, **request: Any) -> Mapping[str, Any]:
        ((name, wanted),) = request["RequestItems"].items()
        found = [self.items[key] for one in wanted["Keys"] if (key := _key(one)) in self.items]
        return {"Responses": {name: list(map(dict, found))}, "UnprocessedKeys": {}}

    def put_item(self, **request: Any) -> Mapping[str, Any]:
        self._single("Put", request)
        return {}

    def delete_item(self, **request: Any) -> Mapping[str, Any]:
        self._single("Delete", request)
        return {}

    def update_item(self, **request: Any) -> Mapping[str, Any]:
        self._single("Update", request)
        return {"Attributes": dict(self.items[_key(request["Key"])])}

    def transact_write_items(self, **request: Any) -> Mapping[str, Any]:
        token, actions = request["ClientRequestToken"], request["TransactItems"]
        known = self._tokens.get(token)
        if known and self.clock() - known[0] < TOKENS_LAST:
            if known[1] != actions:
                raise client_error("IdempotentParameterMismatchException")
            return {}
        parts = [(kind, one) for action in actions for kind, one in action.items()]
        reasons = [self._reason(kind, one) for kind, one in parts]
        if any(reason != "None" for reason in reasons):
            raise cancelled(*reasons)
        for kind, one in parts:
            self._carry_out(kind, one)
        self._tokens[token] = self.clock(), actions
        return {}

    def query(self, **request: Any) -> Mapping[str, Any]:
        index = request.get("IndexName")
        hash_key, range_key = self._index_keys[index] if index else ("pk", "sk")
        about = request.get("ExpressionAttributeValues", {}), request.get("ExpressionAttributeNames", {})
        chosen = condition(request["KeyConditionExpression"])
        source = self._partition(index, request) if index else self.items.values()
        found = [item for item in source if chosen(item, *about) and range_key in item]
        found.sort(
            key=lambda item: _order(item, range_key), reverse=not request.get("ScanIndexForward", True)
        )
        start = request.get("ExclusiveStartKey")
        if start:
            found = list(_behind(found, start, range_key, request.get("ScanIndexForward", True)))
        limit = request.get("Limit", len(found))
        page = self.scanned = found[:limit]
        answer: dict[str, Any] = {}
        if page and len(page) == limit and "Limit" in request:  # also when nothing is behind it
            names = {"pk", "sk", hash_key, range_key}
            answer["LastEvaluatedKey"] = {name: page[-1][name] for name in names}
        if "FilterExpression" in request:
            keep = condition(request["FilterExpression"])
            page = [item for item in page if keep(item, *about)]
        if request.get("Select") != "COUNT":
            answer["Items"] = [self._shown(item, request) for item in page]
        return {**answer, "Count": len(page), "ScannedCount": len(self.scanned)}

    def batch_write_item(self, **request: Any) -> Mapping[str, Any]:
        ((_, requests),) = request["RequestItems"].items()
        for one in requests:
            self._carry_out("Put", one["PutRequest"])
        return {"UnprocessedItems": {}}

    def create_table(self, **_: Any) -> None:
        """There is one already."""

    def delete_table(self, **_: Any) -> None:
        self.items.clear()
        self._entries.clear()
        self._not_indexed_yet.clear()

    def _single(self, kind: str, request: Mapping[str, Any]) -> None:
        match self._reason(kind, request):
            case "None":
                self._carry_out(kind, request)
            case "ConditionalCheckFailed":
                raise client_error("ConditionalCheckFailedException")
            case other:
                raise client_error(other.replace("Error", "Exception"))

    def _reason(self, kind: str, request: Mapping[str, Any]) -> str:
        """Why the action is not carried out; "None", as DynamoDB says, if it is."""
        item = self.items.get(_key(request.get("Key") or request["Item"]), {})
        about = request.get("ExpressionAttributeValues", {}), request.get("ExpressionAttributeNames", {})
        if (text := request.get("ConditionExpression")) and not condition(text)(item, *about):
            self.refused[_key(request.get("Key") or request["Item"])[1]] += 1
            return "ConditionalCheckFailed"
        if kind == "Put" and _size(request["Item"]) > MAX_BYTES:
            return "ValidationError"
        return "None"

    def _carry_out(self, kind: str, request: Mapping[str, Any]) -> None:
        if kind == "ConditionCheck":
            return
        key = _key(request.get("Key") or request["Item"])
        before, after = self.items.get(key), None
        if kind == "Put":
            after = dict(request["Item"])
        elif kind == "Update":
            about = request.get("ExpressionAttributeValues", {}), request.get("ExpressionAttributeNames", {})
            after = changed(before or request["Key"], request["UpdateExpression"], *about)
        if before == after:
            return  # which no stream tells of
        if after is None:
            del self.items[key]
        else:
            self.items[key] = after
        write = Write(len(self.writes) + 1, self.clock(), key, before, after)
        self.writes.append(write)
        self._not_indexed_yet.append(write)
        for listener in self.listeners:
            listener(write)

    def _partition(self, index: str, request: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
        """The entries that a query of an index goes over: those of the partition that it names."""
        shown = self.clock() - self.index_lag
        while self._not_indexed_yet and self._not_indexed_yet[0].at <= shown:
            self._follow(self._not_indexed_yet.popleft())
        name, _, placeholder = request["KeyConditionExpression"].split(" AND ")[0].split()
        assert request.get("ExpressionAttributeNames", {}).get(name, name) == self._index_keys[index][0]
        return self._entries[index, request["ExpressionAttributeValues"][placeholder]["S"]].values()

    def _follow(self, write: Write) -> None:
        """Let the indexes have what was written."""
        for index, (key, _) in self._index_keys.items():
            if write.before and key in write.before:
                self._entries[index, write.before[key]["S"]].pop(write.key, None)
            if write.after and key in write.after:
                entry = {n: v for n, v in write.after.items() if n in self._projected[index]}
                self._entries[index, write.after[key]["S"]][write.key] = entry

    def _shown(self, item: dict[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
        if "ProjectionExpression" not in request:
            return dict(item)
        names = request.get("ExpressionAttributeNames", {})
        asked = [word.strip() for word in request["ProjectionExpression"].split(",")]
        wanted = {names.get(word, word) for word in asked}
        return {name: value for name, value in item.items() if name in wanted}


def _key(attributes: Mapping[str, Any]) -> Key:
    return attributes["pk"]["S"], attributes["sk"]["S"]


def _order(item: Mapping[str, Any], range_key: str) -> tuple[str, str, str]:
    return (item[range_key]["S"], *_key(item))


def _behind(
    found: list[dict[str, Any]], start: Mapping[str, Any], range_key: str, forward: bool
) -> Iterator[dict[str, Any]]:
    last = _order(start, range_key)
    for item in found:
        here = _order(item, range_key)
        if here > last if forward else here < last:
            yield item


def _schema(keys: Sequence[Mapping[str, str]]) -> tuple[str, str]:
    by_type = {key["KeyType"]: key["AttributeName"] for key in keys}
    return by_type["HASH"], by_type["RANGE"]


def _projection(index: Mapping[str, Any]) -> set[str]:
    return {"pk", "sk", *_schema(index["KeySchema"]), *index["Projection"].get("NonKeyAttributes", ())}


def _size(item: Mapping[str, Any]) -> int:
    return sum(len(name) + len(str(text).encode()) for name, value in item.items() for text in value.values())
