"""A job's events as items beside its record: written once however often they are told, and read in order.

Nothing needs the outbox here: its filter lets only records through.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from chalicelib.domain.events import Event, event_of
from chalicelib.domain.job import Job
from chalicelib.services.ports import EventPage
from chalicelib.store import conditions
from chalicelib.store.items import Item, to_time
from chalicelib.store.keys import EVENT, event_key, event_position_key, job_key
from chalicelib.store.table import ConditionFailed, Table
from chalicelib.store.transactions import Action, put_beside


class Events:
    """The events of a table; each is forgotten `retention_seconds` after it was last told."""

    def __init__(self, table: Table, retention_seconds: int, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._retention_seconds = retention_seconds
        self._clock = clock

    def actions(self, job: Job, was: Job | None) -> list[Action]:
        """What writing `job` over `was` tells; beside the record, so that it is told if and only if that is
        written. Its key is the record's version."""
        event = event_of(job, was)
        return [] if event is None else [put_beside("event", self._item(job.id, event))]

    def add(self, job_id: str, event: Event) -> None:
        item = self._item(job_id, event)
        values = {":last_at": item["last_at"], ":times": item["times"]}
        try:
            self._table.put(item, conditions.NEWER_EVENT, values)
        except ConditionFailed:
            return  # what stands is the same, or newer

    def page(self, job_id: str, limit: int, after: str | None) -> EventPage:
        start = {"ExclusiveStartKey": event_position_key(job_id, after)} if after else {}
        answer = self._table.query(
            KeyConditionExpression="pk = :pk AND begins_with(sk, :events)",
            ExpressionAttributeValues={":pk": job_key(job_id)["pk"], ":events": {"S": EVENT}},
            Limit=limit + 1,  # so that the last page is known to be the last
            ConsistentRead=True,
            **start,
        )
        found = answer["Items"][:limit]
        goes_on = found and (len(answer["Items"]) > limit or "LastEvaluatedKey" in answer)
        last = found[-1]["sk"]["S"].removeprefix(EVENT) if goes_on else None
        return EventPage(tuple(map(_from_item, found)), last)

    def _item(self, job_id: str, event: Event) -> Item:
        """The whole item of an event. No attribute is an index's, so that no list ever sees one."""
        first_at = to_time(event.first_timestamp)
        return {
            **event_key(job_id, first_at, event.key),
            "type": {"S": event.type},
            "reason": {"S": event.reason},
            "message": {"S": event.message},
            "object": {"S": event.object},
            "key": {"S": event.key},
            "first_at": {"S": first_at},
            "last_at": {"S": to_time(event.timestamp)},
            "times": {"N": str(event.count)},
            "expires_at": {"N": str(int(self._clock().timestamp()) + self._retention_seconds)},
        }


def _from_item(item: Item) -> Event:
    return Event(
        type=item["type"]["S"],
        reason=item["reason"]["S"],
        message=item["message"]["S"],
        timestamp=datetime.fromisoformat(item["last_at"]["S"]),
        first_timestamp=datetime.fromisoformat(item["first_at"]["S"]),
        count=int(item["times"]["N"]),
        object=item["object"]["S"],
        key=item["key"]["S"],
    )
