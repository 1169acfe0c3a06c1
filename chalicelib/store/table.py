"""The table behind a typed door: single requests, with botocore's errors turned into ours.

botocore itself retries what it recognises: lost connections, 5xx and throttled requests. What is left for
here is what it does not: conflicts with a running transaction and the unprocessed rest of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from random import Random
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import PayloadTooLarge, StoreRejected, StoreUnavailable, TrainyardError
from chalicelib.store.items import MAX_ITEM_BYTES, Item, item_bytes
from chalicelib.store.keys import Key

ATTEMPTS = 8
BACKOFF_SECONDS = 0.025  # the longest first pause; each next one may be twice as long
BACKOFF_LIMIT_SECONDS = 1.0
BATCH_GET_LIMIT = 100


class DynamoClient(Protocol):
    """The part of botocore's DynamoDB client that the store uses."""

    def get_item(self, **request: Any) -> Mapping[str, Any]: ...
    def put_item(self, **request: Any) -> Mapping[str, Any]: ...
    def update_item(self, **request: Any) -> Mapping[str, Any]: ...
    def delete_item(self, **request: Any) -> Mapping[str, Any]: ...
    def query(self, **request: Any) -> Mapping[str, Any]: ...
    def batch_get_item(self, **request: Any) -> Mapping[str, Any]: ...
    def transact_write_items(self, **request: Any) -> Mapping[str, Any]: ...


class ConditionFailed(Exception):
    """A write's condition does not hold. Never leaves the store.

    `failed` names the actions of a transaction whose conditions failed. `in_doubt` says that an earlier try
    of the same write may have succeeded without our hearing of it, so that the record in the way may be
    the one that was to be written.
    """

    def __init__(self, failed: frozenset[str] = frozenset(), in_doubt: bool = False) -> None:
        super().__init__(", ".join(sorted(failed)))
        self.failed = failed
        self.in_doubt = in_doubt


class Table:
    """One table. `sleep` and `random` space out the retries."""

    def __init__(
        self, client: DynamoClient, name: str, sleep: Callable[[float], None], random: Random
    ) -> None:
        self.client = client
        self.name = name
        self.sleep = sleep
        self.random = random
        self.one_at_a_time: AbstractContextManager[Any] = nullcontext()

    def guards(self) -> Sequence[Any]:
        """The checks that every transaction carries besides its own."""
        return ()

    def get(self, key: Key) -> Item | None:
        """One item, as of now."""
        with translated():
            answer = self.client.get_item(TableName=self.name, Key=key, ConsistentRead=True)
        item: Item | None = answer.get("Item")
        return item

    def get_many(self, keys: Sequence[Key]) -> Iterator[Item]:
        """The items that exist of `keys`, as of now, in no order. No key may be given twice."""
        for items in self.get_batches(keys):
            yield from items

    def get_batches(self, keys: Sequence[Key]) -> Iterator[Sequence[Item]]:
        """As `get_many`, a request at a time."""
        for start in range(0, len(keys), BATCH_GET_LIMIT):
            yield list(self._get_batch(keys[start : start + BATCH_GET_LIMIT]))

    def query(self, **request: Any) -> Mapping[str, Any]:
        """One page of a query."""
        with translated():
            return self.client.query(TableName=self.name, **request)

    def pages(self, **request: Any) -> Iterator[Mapping[str, Any]]:
        """All pages of a query, each read when it is asked for."""
        while True:
            page = self.query(**request)
            yield page
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def put(self, item: Item, condition: str | None = None, values: Mapping[str, Any] | None = None) -> None:
        """Write a whole item. Raises ConditionFailed."""
        request = {"Item": item, **({"ConditionExpression": condition} if condition else {})}
        self._write(self.client.put_item, request, values, item)

    def delete(self, key: Key, condition: str, values: Mapping[str, Any]) -> None:
        """Delete an item. Raises ConditionFailed, also when there is none."""
        self._write(self.client.delete_item, {"Key": key, "ConditionExpression": condition}, values)

    def update(self, key: Key, change: str, condition: str, values: Mapping[str, Any]) -> Item:
        """Change an item, or begin one; returns it as it is then. Raises ConditionFailed."""
        request = {"Key": key, "UpdateExpression": change, "ConditionExpression": condition}
        answer = self._write(self.client.update_item, request | {"ReturnValues": "ALL_NEW"}, values)
        item: Item = answer["Attributes"]
        return item

    def attempts(self) -> Iterator[int]:
        """The numbers of the attempts of a write, from 0, with a pause of random length before each but
        the first: writers who collided once do not collide again in step."""
        for attempt in range(ATTEMPTS):
            if attempt:
                self._pause(attempt)
            yield attempt

    def _write(
        self,
        write: Callable[..., Mapping[str, Any]],
        request: dict[str, Any],
        values: Mapping[str, Any] | None,
        item: Item | None = None,
    ) -> Mapping[str, Any]:
        if values:
            request["ExpressionAttributeValues"] = values
        in_doubt = False
        for _ in self.attempts():
            try:
                with translated(item):
                    return write(TableName=self.name, **request)
            except Conflicted as error:
                in_doubt |= error.in_doubt
            except ConditionFailed as error:
                raise ConditionFailed(in_doubt=in_doubt or error.in_doubt) from error
        raise StoreUnavailable(f"a write met another's transaction {ATTEMPTS} times")

    def _get_batch(self, keys: Sequence[Key]) -> Iterator[Item]:
        wanted: Mapping[str, Any] = {self.name: {"Keys": keys, "ConsistentRead": True}}
        fruitless = 0
        while wanted:
            if fruitless >= ATTEMPTS:
                raise StoreUnavailable(f"{fruitless} reads of a batch in a row gave nothing")
            if fruitless:
                self._pause(fruitless)
            with translated():
                answer = self.client.batch_get_item(RequestItems=wanted)
            yield from answer["Responses"].get(self.name, ())
            wanted = answer.get("UnprocessedKeys") or {}
            fruitless = 1 if answer["Responses"].get(self.name) else fruitless + 1

    def _pause(self, attempt: int) -> None:
        longest = min(BACKOFF_LIMIT_SECONDS, BACKOFF_SECONDS * 2 ** (attempt - 1))
        self.sleep(self.random.uniform(0, longest))


class Conflicted(Exception):
    """A transaction was under way on the same item: the same write may succeed in a moment."""

    def __init__(self, in_doubt: bool) -> None:
        super().__init__("transaction conflict")
        self.in_doubt = in_doubt


@contextmanager
def translated(*written: Item | None) -> Iterator[None]:
    """Turn botocore's errors into ours. `written` are the items to blame if DynamoDB finds one too large."""
    try:
        yield
    except ClientError as error:
        raise _translation(error, written) from error
    except BotoCoreError as error:
        raise StoreUnavailable(f"DynamoDB does not answer: {error}") from error


def was_retried(error: ClientError) -> bool:
    """Whether botocore sent the request more than once: the first may have been carried out unheard."""
    return int(error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)) > 0


def refusal(message: str, written: Sequence[Item | None]) -> TrainyardError:
    """What DynamoDB's ValidationException means: an item over its limit of size, or else a bug of ours."""
    if any(item_bytes(item) > MAX_ITEM_BYTES for item in written if item is not None):
        return PayloadTooLarge(MAX_ITEM_BYTES)
    return StoreRejected(f"DynamoDB refuses the request: {message}")


def _translation(error: ClientError, written: Sequence[Item | None]) -> Exception:
    code = error.response["Error"]["Code"]
    if code == "ConditionalCheckFailedException":
        return ConditionFailed(in_doubt=was_retried(error))
    if code == "TransactionConflictException":
        return Conflicted(was_retried(error))
    if code in ("ValidationException", "SerializationException"):
        return refusal(str(error), written)
    return StoreUnavailable(f"DynamoDB: {error}")
