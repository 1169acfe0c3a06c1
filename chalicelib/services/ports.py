"""What the services need from the world, as protocols, so that they never see a vendor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from ssl import SSLContext
from typing import Any, Protocol, TypeVar

from chalicelib.domain.census import Load
from chalicelib.domain.events import Event
from chalicelib.domain.job import Job, JobSummary
from chalicelib.domain.logs import Chunk, Mark
from chalicelib.domain.observed import Pod, Workload
from chalicelib.domain.pools import Pool
from chalicelib.domain.repair import Repaired
from chalicelib.domain.state_change import StateChange
from chalicelib.domain.states import Status
from chalicelib.domain.uploads import Place, Receipt, Upload

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The right to open a terminal in a pod. `tenant` is the job's, `subject` who asked for it."""

    subject: str
    tenant: str
    job_id: str
    pod: str
    pool: str


@dataclass(frozen=True, slots=True)
class Ticket:
    """A grant for one time."""

    id: str
    grant: Grant
    expires_at: datetime


class Tickets(Protocol):
    """Writes tickets as texts that nobody can change or make up."""

    def issue(self, grant: Grant) -> str:
        """A new ticket; it lasts for a minute."""
        ...

    def read(self, text: str) -> Ticket:
        """Raises TicketInvalid and TicketExpired."""
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
        """As create does, CREATED_TOGETHER of them in one transaction while nothing is in their way.

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


class LogWatch(Protocol):
    """Waits for a line behind a mark of one pod's log."""

    def wait(self) -> bool:
        """Whether there is such a line; False when the log ended, after a few seconds without one, when it
        cannot be read, or when another thread closed the watch."""
        ...

    def close(self) -> None: ...


class PodLogs(Protocol):
    """The logs of the pods that a cluster has. `ended`: the container has, so that its last line is complete
    even without a line break. A pod that has not started has no lines.

    Raises PodNotFound, and ClusterUnavailable also when the node has lost the log.
    """

    def tail(self, namespace: str, pod: str, lines: int, limit_bytes: int, *, ended: bool) -> Chunk:
        """The last `lines` lines (a few more where several are of the oldest one's time), of about
        `limit_bytes` together. `joined`: there may be older ones here."""
        ...

    def after(
        self, namespace: str, pod: str, mark: Mark | None, lines: int, limit_bytes: int, *, ended: bool
    ) -> Chunk:
        """The lines behind `mark` (None: from where the cluster's log begins, which is never `joined`)."""
        ...

    def watch(self, namespace: str, pod: str, mark: Mark | None) -> LogWatch: ...


class LogArchive(Protocol):
    """What was shipped of the logs of pods, whether they still exist or not. Raises LogsUnavailable."""

    def pods(self, job_id: str) -> Sequence[str]:
        """The pods of a job that anything was shipped of, some hundreds at most."""
        ...

    def tail(self, job_id: str, pod: str, before: int | None, lines: int, limit_bytes: int) -> Chunk:
        """The last lines, or those before the time `before` (nanoseconds)."""
        ...

    def after(
        self, job_id: str, pod: str, mark: Mark | None, lines: int, limit_bytes: int, *, ended: bool
    ) -> Chunk:
        """The lines behind `mark` (None: from the beginning, `joined` if anything was shipped)."""
        ...


@dataclass(frozen=True, slots=True)
class Happened:
    """Events, each with its namespace. Once they are kept, `position` is where to go on; None: more of the
    same list comes first."""

    events: Sequence[tuple[str, Event]]
    position: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecCall:
    """How to call for a process in a pod: a WebSocket's URL, its headers and its TLS."""

    url: str
    headers: Mapping[str, str]
    tls: SSLContext | None
    server_name: str | None


Learn = Callable[[], Set[str]]  # takes one piece of news in; the jobs that are not as they were, by their ids
Follow = Callable[[float], Iterator[Learn]]  # what is told for about so many seconds, as it is told


class Watch(Protocol):
    """One pool's workloads, kept up to date by what its follows tell. All but those are for one thread."""

    def workloads(self) -> Sequence[Workload]:
        """List them anew: all that there are. What the follows tell goes on from there."""
        ...

    def workload(self, job_id: str) -> Workload | None:
        """One as last seen: where nothing is told it may be old, and one that is new may be missing."""
        ...

    def warned(self, job_id: str, message: str) -> Set[str]:
        """Learn from an Event why a job has no pods."""
        ...

    def close(self) -> None:
        """Let what is followed of this cluster end now."""
        ...

    def follows(self) -> Sequence[Follow]:
        """To be followed side by side, each by one thread, again and again. They raise ClusterUnavailable;
        where they broke off is where the next call goes on."""
        ...


class News(Protocol):
    """What several follows tell, for one reader: services.newsroom."""

    def wait(self, seconds: float) -> Sequence[Learn]: ...
    def close(self) -> None: ...
    def join(self) -> None: ...


class Cluster(Protocol):
    """One Kubernetes. Raises ClusterUnavailable or a child of it (retry) and ClusterRejected (final)."""

    def submit(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        """Create a job's objects, the Kubernetes Job first among them and owner of the others. Names are job
        ids: what exists already was created by an earlier try.
        """
        ...

    def delete(self, namespace: str, name: str) -> None:
        """Delete the Kubernetes Job and, in the foreground, its pods; one that is gone is fine."""
        ...

    def force_delete(self, namespace: str, pods: Sequence[str]) -> None:
        """Take these pods out of the cluster's books at once, whatever their nodes say. One that is gone is
        fine."""
        ...

    def watch(self, pool: Pool) -> Watch:
        """What there is of this Trainyard in the pool. Asks nothing yet."""
        ...

    def workload(self, namespace: str, job_id: str) -> Workload | None:
        """One job's workload, live."""
        ...

    def pods(self, namespace: str, job_id: str) -> Sequence[Pod]:
        """One job's pods, live, oldest first."""
        ...

    def pod(self, namespace: str, job_id: str, name: str) -> Pod | None:
        """One pod of the job, live; None when the job has no such pod."""
        ...

    def exec_call(self, namespace: str, pod: str, command: Sequence[str], *, tty: bool) -> ExecCall:
        """What a WebSocket client needs to run `command` beside the training in its container."""
        ...

    @property
    def logs(self) -> PodLogs: ...

    def happened(self, namespace: str | None, position: str | None, seconds: float) -> Iterator[Happened]:
        """The Events of a namespace (None: of all) since `position`, and then as they happen, for about that
        long. Without a position, or with one that is too old, all that the cluster remembers comes first.
        """
        ...


class Clusters(Protocol):
    """Finds the cluster of a pool, connecting on first use."""

    def __call__(self, pool: Pool) -> Cluster: ...


class Kick(Protocol):
    """Wakes the sync function up, without waiting for it; waking it twice does no harm."""

    def __call__(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Stored:
    """A version of an object in a bucket. `language` is its metadata's `accept-language`."""

    version_id: str | None
    size: int
    content: bytes = b""
    language: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """What stood at a key; `etag` tells it from what anybody writes after."""

    content: str
    etag: str


class Objects(Protocol):
    """Buckets. Raises ObjectsUnavailable."""

    def find(self, place: Place) -> Stored | None:
        """What stands there now, without its content; None: nothing."""
        ...

    def read(self, upload: Upload) -> Stored | None:
        """The upload's own version; None when it is gone, or, in a bucket without versions, when another
        has replaced it."""
        ...

    def read_text(self, bucket: str, key: str) -> Text | None: ...

    def write_text(self, bucket: str, key: str, text: str, over: Text | None) -> bool:
        """Write over what was read (None: nothing stood there). False when something else stands there now,
        be it a first try's own write whose answer was lost."""
        ...


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
