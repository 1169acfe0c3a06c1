"""Transactions that are retried where DynamoDB wants that of its callers.

Two transactions on one item at a time cancel each other, and botocore does not repeat a cancelled one. Nor
could it do so well: a further attempt here is another payload (its counters are on another shard), so that
it carries a new token. botocore's own repetition of one request, after a lost connection, keeps the token,
and DynamoDB then answers for the first one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.errors import LeaseLost, StoreUnavailable
from chalicelib.store.items import Item
from chalicelib.store.keys import Key
from chalicelib.store.table import ATTEMPTS, ConditionFailed, Table, refusal, translated, was_retried

LEASE = "lease"  # the label of a fence's check
MAX_ACTIONS = 100  # DynamoDB's own limit for one transaction

_RETRIED = {"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}


@dataclass(frozen=True, slots=True)
class Action:
    """One action of a transaction; `label` is what ConditionFailed names when its condition fails."""

    label: str
    kind: str
    request: Mapping[str, Any]
    item: Item | None = None


Build = Callable[[int], Sequence[Action]]


def put(label: str, item: Item, condition: str, values: Mapping[str, Any] | None = None) -> Action:
    return Action(label, "Put", _with_values({"Item": item, "ConditionExpression": condition}, values), item)


def put_beside(label: str, item: Item) -> Action:
    """Write what stands or falls with the other actions' conditions."""
    return Action(label, "Put", {"Item": item}, item)


def update(label: str, key: Key, request: Mapping[str, Any]) -> Action:
    return Action(label, "Update", {"Key": key, **request})


def delete(label: str, key: Key, condition: str, values: Mapping[str, Any] | None = None) -> Action:
    return Action(label, "Delete", _with_values({"Key": key, "ConditionExpression": condition}, values))


def check(label: str, key: Key, condition: str, values: Mapping[str, Any] | None = None) -> Action:
    return Action(
        label, "ConditionCheck", _with_values({"Key": key, "ConditionExpression": condition}, values)
    )


def transact(table: Table, build: Build) -> None:
    """Carry out the actions that `build` gives for the number of the attempt, all or none of them.

    Raises ConditionFailed when a condition does not hold, StoreUnavailable when conflicts do not end, and
    LeaseLost when the table is fenced and its holder was overtaken.
    """
    with table.one_at_a_time:
        _transact(table, build)


def _transact(table: Table, build: Build) -> None:
    in_doubt = False
    for attempt in table.attempts():
        actions = [*build(attempt), *table.guards()]
        items = [action.item for action in actions]
        try:
            with translated(*items):
                _send(table, actions)
            return
        except _Cancelled as error:
            in_doubt |= error.in_doubt
            if LEASE in error.failed:
                raise LeaseLost("another has taken the lease over") from error
            if error.failed:
                raise ConditionFailed(error.failed, in_doubt) from error
            if "ValidationError" in error.codes:
                raise refusal(str(error), items) from error
            if not error.codes <= _RETRIED:
                raise StoreUnavailable(str(error)) from error
    raise StoreUnavailable(f"a transaction was cancelled {ATTEMPTS} times by others on the same items")


class _Cancelled(Exception):
    """DynamoDB did none of the transaction; `codes` say why, `failed` whose conditions did not hold."""

    def __init__(self, error: ClientError, actions: Sequence[Action]) -> None:
        super().__init__(str(error))
        reasons = error.response.get("CancellationReasons", [])
        self.codes = {str(reason.get("Code", "None")) for reason in reasons}
        self.failed = frozenset(
            action.label
            for action, reason in zip(actions, reasons, strict=False)
            if reason.get("Code") == "ConditionalCheckFailed"
        )
        # Under way already: this very request was sent before, and its first copy may yet succeed.
        under_way = error.response["Error"]["Code"] == "TransactionInProgressException"
        self.in_doubt = under_way or was_retried(error)


def _send(table: Table, actions: Sequence[Action]) -> None:
    try:
        table.client.transact_write_items(
            TransactItems=[{action.kind: {"TableName": table.name, **action.request}} for action in actions],
            ClientRequestToken=f"{table.random.getrandbits(128):032x}",
        )
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code not in ("TransactionCanceledException", "TransactionInProgressException"):
            raise
        raise _Cancelled(error, actions) from error


def _with_values(request: dict[str, Any], values: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return {**request, "ExpressionAttributeValues": values} if values else request
