"""What the services need from the world, as protocols, so that they never see a vendor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from chalicelib.domain.census import Load
from chalicelib.domain.events import Event
from chalicelib.domain.job import Job, JobSummary
from chalicelib.domain.repair import Repaired
from chalicelib.domain.state_change import StateChange
from chalicelib.domain.states import Status
from chalicelib.domain.uploads import Place, Receipt
from chalicelib.services.ticket_ports import Ticket

T = TypeVar("T")
R = TypeVar("R")


class Clock(Protocol):
    """Says what time it is, in UTC."""

    def __call__(self) -> datetime: ...


class NewId(Protocol):
    """Gives a new job id, `job-<time-ordered, lower-case>`, for a job created at `now`."""

    def __call__(self, now: datetime) -> str: ...


# A file's jobs are known for longer than a queue, its dead letters and their replay may keep its event.
UPLOAD_KEPT = timedelta(days=90)
UPLOAD_TAKEN = timedelta(days=60)  # after that an upload is told too late
CREATED_TOGETHER = 24  # jobs that a store creates in one transaction


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A key and the fingerprint of the request that it came with; valid in its tenant for `keep_seconds`,
    by default for the 24 h that callers are promised."""

    key: str
    fingerprint: str
    keep_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """A page of jobs, newest first. `tenant` None means all tenants (admins).

    tenant, status and workspace_id are answered by an index. The others filter what the index gives, with a
    bounded number of reads. `created_from` and `created_to` are inclusive.
    """

    tenant: str | None
    status: Status | None = None
    workspace_id: int | None = None
    pool: str | None = None
    queue: str | None = None
    keyword: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    page: int = 1
    page_size: int = 20


@dataclass(frozen=True, slots=True)
class JobPage:
    """One page and the total of the whole list. `total_is_exact` is False only for a filtered list whose
    bounded walk ended before the list did: `total` is then what was found so far."""

    items: tuple[JobSummary, ...]
    total: int
    total_is_exact: bool = True


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some of a job's events, oldest first. `last` is the position behind which the next page begins; None:
    there is none."""

    items: tuple[Event, ...]
    last: str | None


@dataclass(frozen=True, slots=True)
class SharedPage:
    """What somebody read for all who want the same; `content` None: somebody is reading it right now."""

    content: bytes | None


class SharedPages(Protocol):
    """Short-lived pages under names, for those who would otherwise all read the same elsewhere."""

    def shared_page(self, name: str, now: datetime) -> SharedPage | None:
        """The page, None if there is none that is still good at `now`."""
        ...

    def claim_page(self, name: str, now: datetime, until: datetime) -> bool:
        """Announce that one reads the page; False if another does so until later, or if there is one."""
        ...

    def share_page(self, name: str, content: bytes, until: datetime) -> None:
        """Give the page to everybody until then."""
        ...


class JobStore(SharedPages, Protocol):
    """The records. Every write is conditional; a lost race raises StaleRecord, an outage StoreUnavailable."""

    def create(self, job: Job, idempotency: Idempotency | None = None) -> Job:
        """Store a new record, its counters, its first event and its idempotency key in one transaction.

        Returns the job that stands: the given one, or the original one of the same key and fingerprint.
        Raises IdempotencyConflict for the same key with another fingerprint, or whose job was deleted.
        """
        ...

    def create_many(self, wanted: Sequence[tuple[Job, Idempotency]]) -> Sequence[Job | None]:
        """As create does for jobs of one tenant, CREATED_TOGETHER of them in one transaction while nothing is
        in their way.

        Returns, in the order of `wanted`, the jobs that stand; None where create raises IdempotencyConflict.
        """
        ...

    def get(self, job_id: str) -> Job | None:
        """The record as of now (a consistent read), tombstones included; None when there is none."""
        ...

    def get_many(self, job_ids: Sequence[str]) -> Mapping[str, Job]:
        """The records that exist of `job_ids` (consistent reads, tombstones included)."""
        ...

    def save(self, job: Job, was: Job) -> None:
        """Write `job` over `was` if `was.version` still stands, in one transaction with the counters and with
        what that tells (domain.events.event_of)."""
        ...

    def save_many(self, saves: Sequence[tuple[Job, Job]]) -> Sequence[bool]:
        """As save does, CREATED_TOGETHER of them in one transaction while nothing is in their way. Returns
        for each whether it was saved; False where save raises StaleRecord."""
        ...

    def remove(self, job: Job) -> None:
        """Remove a tombstone for good, if its version still stands."""
        ...

    def list(self, query: ListQuery) -> JobPage: ...

    def unsettled(self, but: Status | None = None) -> Iterator[Job]:
        """Every record that is not terminal, and every tombstone, in no particular order, read in pages.
        Those of status `but` are not looked for; one that was of it a moment ago may be among them."""
        ...

    def has_unsettled(self) -> bool:
        """Whether `unsettled` would give anything, for the price of a few one-item reads."""
        ...

    def add_event(self, job_id: str, event: Event) -> None:
        """Keep an event of the job for as long as the settings say. Telling it again changes nothing, unless
        it is newer than what was kept (a higher count, a later time). A job keeps a bounded number of them.
        """
        ...

    def add_events(self, told: Sequence[tuple[str, Event]]) -> None:
        """add_event for many, each with its job's id; those that are known cost one read for a hundred."""
        ...

    def feed_position(self, feed: str) -> str | None:
        """How far a feed has been read, by whoever read it last; None: nobody did."""
        ...

    def save_feed_position(self, feed: str, position: str) -> None: ...

    def events(self, job_id: str, limit: int, after: str | None = None) -> EventPage:
        """At most `limit` of the job's events, oldest first, behind the position `after`: one read."""
        ...

    def upload(self, place: Place) -> Receipt | None:
        """What came of the newest upload that the status file of `place` tells of."""
        ...

    def save_upload(self, receipt: Receipt) -> bool:
        """Keep it; False when a newer upload's is kept for the same status file."""
        ...

    def recount(self, tenant: str | None) -> Mapping[str, int]:
        """Recount a tenant's totals (None: the totals over all tenants) and put the counters right.

        Returns the jobs per status as counted. Raises StoreUnavailable if writes never paused long enough.
        """
        ...

    def acquire_lease(self, name: str, holder: str, now: datetime, lasts: timedelta) -> bool:
        """Take or renew the lease for `holder`; False while another holder's is unexpired."""
        ...

    def release_lease(self, name: str, holder: str) -> None:
        """Give the lease up, if `holder` still has it."""
        ...

    def fenced(self, name: str, holder: str) -> JobStore:
        """This store for the holder of that lease: it takes the lease by this store's own acquire_lease, and
        every write raises LeaseLost unless he still holds it."""
        ...

    def lease_is_free(self, name: str, now: datetime) -> bool: ...

    def use_ticket(self, ticket: Ticket) -> bool:
        """Take the ticket for good; False when somebody had it before."""
        ...

    def ticket_is_used(self, ticket: Ticket) -> bool: ...


class Kick(Protocol):
    """Wakes the sync function up, without waiting for it; waking it twice does no harm."""

    def __call__(self) -> None: ...


class Bus(Protocol):
    """Where state changes are published."""

    def __call__(self, changes: Sequence[StateChange]) -> Sequence[bool]:
        """Publish at most ten; for each whether the bus took it. Raises BusUnavailable when none may be."""
        ...


class Meter(Protocol):
    """Counts repairs. Takes no time and does not fail."""

    def __call__(self, repaired: Repaired, /) -> None: ...


class MoveMeter(Protocol):
    """Counts what jobs go through. Takes no time and does not fail."""

    def __call__(self, change: StateChange, /) -> None: ...


class SyncMeter(Protocol):
    """Notes what the sync sees. Takes no time and does not fail."""

    def loads(self, loads: Sequence[Load], at: datetime) -> None: ...
    def unreachable(self, pool: str, why: str, at: datetime) -> None: ...


class RequestTrace(Protocol):
    """Names the trace of the request that is being served; None: it is not recorded."""

    def __call__(self) -> str | None: ...


class JobTrace(Protocol):
    """Records what is done within as a part of the trace that the job's record names. Takes no time and does
    not fail."""

    def __call__(self, job: Job, /) -> AbstractContextManager[None]: ...


class Together(Protocol):
    """Does the same for each, maybe several at a time: the results in order, all there when the last one is
    asked for. What raises ends it all."""

    def __call__(self, do: Callable[[T], R], each: Sequence[T], /) -> Iterable[R]: ...


class RepairBus(Protocol):
    """Where repairs are published."""

    def __call__(self, repairs: Sequence[Repaired]) -> Sequence[bool]:
        """Publish at most ten; for each whether the bus took it. Raises BusUnavailable when none may be."""
        ...
