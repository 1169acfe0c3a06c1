"""A job's events as items beside its record: written once however often they are told, and read in order.

Nothing needs the outbox here: its filter lets only records through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from chalicelib.domain.events import Event, event_of
from chalicelib.domain.job import Job
from chalicelib.services.ports import EventPage
from chalicelib.store import conditions
from chalicelib.store.items import Item, to_time
from chalicelib.store.keys import EVENT, event_key, event_position_key, job_key
from chalicelib.store.table import ConditionFailed, Table
from chalicelib.store.transactions import Action, put, put_beside, transact

# A job has a dozen or two; whoever may write Events in a tenant's namespace must not fill the table. Those
# that come with the record are counted, but never refused.
MOST_EVENTS = 1000
# Whoever counted a job that is that far from it does not count it again: what comes with its record is less.
FAR = 200
MOST_COUNTED = 10_000  # jobs whose room is remembered
MOST_TOGETHER = 50  # events that one transaction writes: what waits for it is not to wait for long


class Events:
    """The events of a table; each is forgotten `retention_seconds` after it was last told."""

    def __init__(
        self, table: Table, retention_seconds: int, most: int, clock: Callable[[], datetime]
    ) -> None:
        self._table = table
        self._retention_seconds = retention_seconds
        self._most = most
        self._clock = clock
        self._counted: dict[str, int] = {}  # job → how many more events it may have

    def actions(self, job: Job, was: Job | None) -> list[Action]:
        """What writing `job` over `was` tells; beside the record, so that it is told if and only if that is
        written. Its key is the record's version."""
        event = event_of(job, was)
        return [] if event is None else [put_beside("event", self._item(job.id, event))]

    def add(self, told: Iterable[tuple[str, Event]]) -> None:
        newest_last = sorted((self._item(job_id, event) for job_id, event in told), key=_newness)
        items = {_key_of(item): item for item in newest_last}
        news = list(self._news(items, self._standing(items)))
        for start in range(0, len(news), MOST_TOGETHER):
            self._put(news[start : start + MOST_TOGETHER])

    def page(self, job_id: str, limit: int, after: str | None) -> EventPage:
        start = {"ExclusiveStartKey": event_position_key(job_id, after)} if after else {}
        answer = self._table.query(
            **_events_of(job_key(job_id)["pk"]["S"]),
            Limit=limit + 1,  # so that the last page is known to be the last
            ConsistentRead=True,
            **start,
        )
        found = answer["Items"][:limit]
        goes_on = found and (len(answer["Items"]) > limit or "LastEvaluatedKey" in answer)
        last = found[-1]["sk"]["S"].removeprefix(EVENT) if goes_on else None
        return EventPage(tuple(map(_from_item, found)), last)

    def _news(
        self, items: Mapping[tuple[str, str], Item], standing: Mapping[tuple[str, str], Item]
    ) -> Iterator[Item]:
        """Those that are newer than what is there, or that are new and have room."""
        room: dict[str, int] = {}
        for key, item in items.items():
            if key in standing:
                if _newness(item) > _newness(standing[key]):
                    yield item
                continue
            job = item["pk"]["S"]
            if job not in room:
                room[job] = self._room(job)
            room[job] -= 1
            self._counted[job] = room[job]
            if room[job] >= 0:
                yield item

    def _put(self, items: Sequence[Item]) -> None:
        """All of them, but for those that are there already."""
        if len(items) < 2:
            for item in items:
                self._put_one(item)
            return
        labelled = {str(number): item for number, item in enumerate(items)}
        actions = [
            put(label, item, conditions.NEWER_EVENT, _compared(item)) for label, item in labelled.items()
        ]
        try:
            transact(self._table, lambda _: actions)
        except ConditionFailed as error:
            # What stands of those is the same by now, or newer; and nothing of the others was written.
            self._put([item for label, item in labelled.items() if label not in error.failed])

    def _put_one(self, item: Item) -> None:
        try:
            self._table.put(item, conditions.NEWER_EVENT, _compared(item))
        except ConditionFailed:
            return  # as above

    def _standing(self, items: Mapping[tuple[str, str], Item]) -> Mapping[tuple[str, str], Item]:
        """What is there of them. One alone, as a watch tells it, needs no look: its write is conditional."""
        if len(items) == 1 and all(self._is_far(job) for job, _ in items):
            return {}
        keys = [{"pk": item["pk"], "sk": item["sk"]} for item in items.values()]
        return {_key_of(item): item for item in self._table.get_many(keys)}

    def _is_far(self, job: str) -> bool:
        return self._counted.get(job, 0) >= FAR

    def _room(self, job: str) -> int:
        """How many more events the job of that partition may have."""
        if (known := self._counted.get(job, 0)) >= FAR:
            return known
        if len(self._counted) >= MOST_COUNTED:
            self._counted.clear()
        pages = self._table.pages(**_events_of(job), Select="COUNT")
        return self._most - sum(int(page["Count"]) for page in pages)

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


def _events_of(partition: str) -> dict[str, Any]:
    """The parameters of a Query for the events beside a record."""
    return {
        "KeyConditionExpression": "pk = :pk AND begins_with(sk, :events)",
        "ExpressionAttributeValues": {":pk": {"S": partition}, ":events": {"S": EVENT}},
    }


def _key_of(item: Item) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


def _newness(item: Item) -> tuple[str, int]:
    """As conditions.NEWER_EVENT compares."""
    return item["last_at"]["S"], int(item["times"]["N"])


def _compared(item: Item) -> dict[str, Any]:
    """The values of conditions.NEWER_EVENT."""
    return {":last_at": item["last_at"], ":times": item["times"]}


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
