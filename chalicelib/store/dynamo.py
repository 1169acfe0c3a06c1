"""The JobStore on DynamoDB: puts the parts of this package together behind the port.

It has no clock, sleep or randomness of its own, so that every retry and expiry can be tested to the letter.
"""

from __future__ import annotations

import builtins
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from chalicelib.aside import Aside, ahead, in_turn
from chalicelib.domain.events import Event
from chalicelib.domain.job import Job
from chalicelib.domain.states import Status
from chalicelib.domain.uploads import Place, Receipt
from chalicelib.errors import IdempotencyConflict, StaleRecord, StoreUnavailable
from chalicelib.services.ports import EventPage, Idempotency, JobPage, ListQuery, SharedPage
from chalicelib.services.ticket_ports import Ticket
from chalicelib.store import conditions, queries
from chalicelib.store.batches import batches, batches_of_saves
from chalicelib.store.counters import Counters
from chalicelib.store.events import MOST_EVENTS, Events
from chalicelib.store.items import Item, from_item, to_item, to_time
from chalicelib.store.keys import feed_key, idempotency_key, job_key, lease_key
from chalicelib.store.lease import FencedTable, Lease
from chalicelib.store.passing import Passing
from chalicelib.store.recount import recount
from chalicelib.store.table import ConditionFailed, DynamoClient, Table
from chalicelib.store.transactions import Action, put, transact
from chalicelib.store.uploads import Uploads

log = logging.getLogger(__name__)

MAX_SHARDS = 64  # a recount checks them all in one transaction, beside what it corrects


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Where the records are, and how they are kept and read."""

    table: str
    idempotency_seconds: int = 24 * 3600
    event_retention_seconds: int = 30 * 24 * 3600
    most_events: int = MOST_EVENTS  # of a job
    counter_shards: int = 8
    walk_pages: int = queries.WALK_PAGES
    walk_entries: int = queries.WALK_ENTRIES
    aside: Aside = in_turn  # how reads that do not need each other are made


class DynamoStore:
    """services.ports.JobStore on one DynamoDB table; docs/table.md draws it.

    `random` also makes the tokens by which DynamoDB knows a transaction again: two processes must not draw
    the same numbers, restored from one snapshot or not. A SystemRandom never does.
    """

    def __init__(
        self,
        client: DynamoClient,
        options: StoreOptions,
        *,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None],
        random: Random,
        lease: Lease | None = None,
    ) -> None:
        if not 1 <= options.counter_shards <= MAX_SHARDS:
            raise ValueError(f"{options.counter_shards} counter shards: 1 to {MAX_SHARDS} are allowed")
        self._plain = Table(client, options.table, sleep, random)
        self._table = FencedTable(client, options.table, sleep, random, lease) if lease else self._plain
        self._counters = Counters(self._table, options.counter_shards)
        self._lists = queries.Lists(
            self._table, self._counters, options.aside, options.walk_pages, options.walk_entries
        )
        self._events = Events(self._table, options.event_retention_seconds, options.most_events, clock)
        self._uploads = Uploads(self._table)
        self._passing = Passing(self._table)
        self._idempotency_seconds = options.idempotency_seconds
        self._clock = clock
        self._options = options
        self._leases: dict[tuple[str, str], Lease] = {}

    def create(self, job: Job, idempotency: Idempotency | None = None) -> Job:
        item = to_item(job)
        claim = self._claim(job, idempotency) if idempotency else []
        told = self._events.actions(job, None)

        def actions(attempt: int) -> list[Action]:
            record = put("record", item, conditions.NEW_RECORD)
            return [record, *claim, *self._counters.actions(job, None, attempt), *told]

        try:
            transact(self._table, actions)
        except ConditionFailed as error:
            if idempotency and "idempotency" in error.failed:
                return self._original(job.tenant, idempotency)
            if error.in_doubt and (standing := self.get(job.id)) and _is_creation(standing, job):
                return standing
            raise StaleRecord(f"there is a record of {job.id} already") from error
        return job

    def create_many(self, wanted: Sequence[tuple[Job, Idempotency]]) -> Sequence[Job | None]:
        return [job for together in batches(wanted) for job in self._create_together(together)]

    def get(self, job_id: str) -> Job | None:
        item = self._table.get(job_key(job_id))
        return None if item is None else from_item(item)

    def get_many(self, job_ids: Sequence[str]) -> Mapping[str, Job]:
        keys = [job_key(job_id) for job_id in dict.fromkeys(job_ids)]
        jobs = map(from_item, self._table.get_many(keys))
        return {job.id: job for job in jobs}

    def save(self, job: Job, was: Job) -> None:
        if (job.id, job.version) != (was.id, was.version + 1):
            raise ValueError(f"{job.id} v{job.version} is not the next version of {was.id} v{was.version}")
        item, values, told = to_item(job, was), _expected(was), self._events.actions(job, was)
        try:
            if told or self._counters.actions(job, was, attempt=0):
                record = put("record", item, conditions.SAME_VERSION, values)
                transact(self._table, lambda n: [record, *self._counters.actions(job, was, n), *told])
            else:
                self._table.put(item, conditions.SAME_VERSION, values)
        except ConditionFailed as error:
            if error.in_doubt and self.get(job.id) == job:
                return
            raise StaleRecord(f"{job.id} is not at version {was.version} any more") from error

    def save_many(self, saves: Sequence[tuple[Job, Job]]) -> Sequence[bool]:
        return [is_done for together in batches_of_saves(saves) for is_done in self._save_together(together)]

    def remove(self, job: Job) -> None:
        """A record that is gone already is what was asked for."""
        try:
            self._table.delete(job_key(job.id), conditions.SAME_TOMBSTONE, _expected(job))
        except ConditionFailed as error:
            if self.get(job.id) is not None:
                raise StaleRecord(f"{job.id} v{job.version} is not the tombstone that stands") from error

    def list(self, query: ListQuery) -> JobPage:
        return self._lists.page(query)

    def unsettled(self, but: Status | None = None) -> Iterator[Job]:
        aside = self._options.aside
        pages = ahead(aside, queries.unsettled_ids(self._table, but))
        for items in ahead(aside, self._records_of(pages)):
            for item in items:
                try:
                    job = from_item(item)
                except StoreUnavailable as error:
                    log.error("left to a newer release: %s", error)
                    continue
                if job.is_deleted or not job.is_terminal:
                    yield job

    def has_unsettled(self) -> bool:
        return queries.has_unsettled(self._table)

    def add_event(self, job_id: str, event: Event) -> None:
        self._events.add([(job_id, event)])

    def add_events(self, told: Sequence[tuple[str, Event]]) -> None:
        self._events.add(told)

    def feed_position(self, feed: str) -> str | None:
        item = self._table.get(feed_key(feed))
        return None if item is None else item["position"]["S"]

    def save_feed_position(self, feed: str, position: str) -> None:
        """Over whatever is there: of two readers each has kept all up to its own position, and what lies
        behind the lower one is merely told again."""
        self._table.put({**feed_key(feed), "position": {"S": position}})

    def events(self, job_id: str, limit: int, after: str | None = None) -> EventPage:
        return self._events.page(job_id, limit, after)

    def upload(self, place: Place) -> Receipt | None:
        return self._uploads.find(place)

    def save_upload(self, receipt: Receipt) -> bool:
        return self._uploads.save(receipt)

    def recount(self, tenant: str | None) -> Mapping[str, int]:
        return recount(self._table, self._counters, tenant)

    def acquire_lease(self, name: str, holder: str, now: datetime, lasts: timedelta) -> bool:
        return self._lease(name, holder).acquire(now, lasts)

    def release_lease(self, name: str, holder: str) -> None:
        self._lease(name, holder).release()

    def fenced(self, name: str, holder: str) -> DynamoStore:
        table = self._table
        fenced = DynamoStore(
            table.client,
            self._options,
            clock=self._clock,
            sleep=table.sleep,
            random=table.random,
            lease=self._lease(name, holder),
        )
        fenced._leases = self._leases
        return fenced

    def lease_is_free(self, name: str, now: datetime) -> bool:
        item = self._table.get(lease_key(name))
        return item is None or item["held_until"]["S"] <= to_time(now)

    def shared_page(self, name: str, now: datetime) -> SharedPage | None:
        return self._passing.shared_page(name, now)

    def claim_page(self, name: str, now: datetime, until: datetime) -> bool:
        return self._passing.claim_page(name, now, until)

    def share_page(self, name: str, content: bytes, until: datetime) -> None:
        self._passing.share_page(name, content, until)

    def use_ticket(self, ticket: Ticket) -> bool:
        return self._passing.use_ticket(ticket)

    def ticket_is_used(self, ticket: Ticket) -> bool:
        return self._passing.ticket_is_used(ticket)

    def _create_together(self, wanted: Sequence[tuple[Job, Idempotency]]) -> Iterator[Job | None]:
        written = [(job, None) for job, _ in wanted]
        puts = [
            action
            for job, key in wanted
            for action in (
                put("record", to_item(job), conditions.NEW_RECORD),
                *self._claim(job, key),
                *self._events.actions(job, None),
            )
        ]
        try:
            transact(self._table, lambda attempt: [*puts, *self._counters.actions_of_many(written, attempt)])
        except ConditionFailed:
            yield from map(self._create_alone, wanted)  # which finds out what is in whose way
        else:
            yield from (job for job, _ in wanted)

    def _create_alone(self, wanted: tuple[Job, Idempotency]) -> Job | None:
        try:
            return self.create(*wanted)
        except IdempotencyConflict:
            return None

    def _save_together(self, saves: Sequence[tuple[Job, Job]]) -> Sequence[bool]:
        puts = [
            action
            for job, was in saves
            for action in (
                put("record", to_item(job, was), conditions.SAME_VERSION, _expected(was)),
                *self._events.actions(job, was),
            )
        ]
        try:
            transact(self._table, lambda attempt: [*puts, *self._counters.actions_of_many(saves, attempt)])
        except ConditionFailed as error:
            # Each alone, which finds out which of them is stale; all may be there, if that went unheard.
            return [self._is_saved(job, was, error.in_doubt) for job, was in saves]
        return [True] * len(saves)

    def _is_saved(self, job: Job, was: Job, may_be_there: bool) -> bool:
        try:
            self.save(job, was)
        except StaleRecord:
            return may_be_there and self.get(job.id) == job
        return True

    def _records_of(self, pages: Iterable[Sequence[str]]) -> Iterator[Sequence[Item]]:
        """The records of ids that come in pages, and may come twice; a request at a time."""
        seen: set[str] = set()
        for ids in pages:
            new = [job_id for job_id in ids if job_id not in seen]
            seen.update(new)
            yield from self._table.get_batches([job_key(job_id) for job_id in new])

    def _lease(self, name: str, holder: str) -> Lease:
        return self._leases.setdefault((name, holder), Lease(self._plain, name, holder))

    def _claim(self, job: Job, idempotency: Idempotency) -> builtins.list[Action]:
        now = int(self._clock().timestamp())
        item = {
            **idempotency_key(job.tenant, idempotency.key),
            "fingerprint": {"S": idempotency.fingerprint},
            "job_id": {"S": job.id},
            "expires_at": {"N": str(now + (idempotency.keep_seconds or self._idempotency_seconds))},
        }
        return [put("idempotency", item, conditions.KEY_UNUSED, {":now": {"N": str(now)}})]

    def _original(self, tenant: str, idempotency: Idempotency) -> Job:
        """The job of a key that is taken. It is our own one if we took it with a request in doubt."""
        claim = self._table.get(idempotency_key(tenant, idempotency.key))
        if claim is None:
            raise StoreUnavailable(f"the idempotency key {idempotency.key!r} expired just now")
        job = self.get(claim["job_id"]["S"]) if claim["fingerprint"]["S"] == idempotency.fingerprint else None
        if job is None or job.is_deleted:
            raise IdempotencyConflict(idempotency.key)
        return job


def _expected(job: Job) -> Mapping[str, Mapping[str, str]]:
    return {":expected": {"N": str(job.version)}}


def _is_creation(standing: Job, job: Job) -> bool:
    """Whether `standing` is `job` or what became of it since: ids are given once, specs never change."""
    ours = (job.tenant, job.spec, job.created_at, job.created_by)
    return ours == (standing.tenant, standing.spec, standing.created_at, standing.created_by)
