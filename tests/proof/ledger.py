"""What must always hold, and what must hold in the end: looked at from outside, not through Trainyard's eyes.

Breaches are noted where they happen, inside a worker, and raised by the test: the code under test would
catch an assertion's error like any other.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from chalicelib.bootstrap import Container
from chalicelib.domain.job import Job
from chalicelib.domain.states import TRANSITIONS, Status
from chalicelib.domain.uploads import Place
from chalicelib.store.items import from_item, to_time
from tests.proof.bucket import BUCKET
from tests.proof.scheduler import Scheduler, Worker
from tests.proof.table import FakeTable, Write

if TYPE_CHECKING:
    from tests.proof.world import World


class Ledger:
    """Every version that every record ever had. `process_of` knows whose memory a worker works with."""

    def __init__(self, scheduler: Scheduler, table: FakeTable) -> None:
        self.breaches: list[str] = []
        self.history: defaultdict[str, list[Job]] = defaultdict(list)
        self.process_of: dict[Worker, Container] = {}
        self._scheduler = scheduler
        self._leader: Container | None = None
        table.listeners.append(self._written)

    def moves(self, job_id: str) -> list[Job]:
        """The versions with which the job was new or its status another one."""
        versions = self.history[job_id]
        return [now for was, now in zip([None, *versions], versions, strict=False) if _moved(was, now)]

    def _written(self, write: Write) -> None:
        _, sk = write.key
        self._check_fence(write)
        if sk != "JOB":
            return
        was = from_item(write.before) if write.before else None
        if write.after is None:
            if was and not was.is_deleted:
                self.breaches.append(f"{was.id} was removed without having been deleted")
            return
        now = from_item(write.after)
        self.history[now.id].append(now)
        self.breaches += [f"{now.id} v{now.version}: {what}" for what in _wrong(was, now)]

    def _check_fence(self, write: Write) -> None:
        """Of the sync's processes only the one that has the lease may write anything but the lease."""
        worker = self._scheduler.running
        if worker is None or worker.name != "sync":
            return
        process = self.process_of[worker]
        if write.key[1] == "LEASE":
            before, after = write.before or {}, write.after or {}
            if before.get("fence") != after.get("fence"):
                self._leader = process
            is_others = before and before["holder"] != after.get("holder")
            if is_others and before["held_until"]["S"] > to_time(process.clock()):
                self.breaches.append(f"the lease was taken while {before['holder']['S']} held it")
        elif process is not self._leader:
            self.breaches.append(f"{write.key} was written by a sync whose lease another had taken")


def always(world: World) -> list[str]:
    """What is wrong at this moment."""
    # What was made late is taken back (docs/design.md, "Proof"); in the end nothing of it may be left.
    made = world.cluster.made - world.cluster.made_late
    twice = [f"{name} was created {number} times" for name, number in made.items() if number > 1]
    return [*world.ledger.breaches, *twice, *_wrong_totals(world), *_disordered(world)]


def at_rest(world: World) -> list[str]:
    """What is wrong when everything has come to rest."""
    wrong = always(world)
    for job_id, versions in world.ledger.history.items():
        wrong += [f"{job_id}: {what}" for what in _wrong_end(world, job_id, versions)]
    wrong += [f"{name} is in the cluster and should not be" for name in world.strays()]
    told = {(entry["id"], entry["version"]) for entry in world.bus.told}
    for job_id in world.ledger.history:
        lost = [job.version for job in world.ledger.moves(job_id) if (job_id, job.version) not in told]
        wrong += [f"the bus was never told of {job_id} v{version}" for version in lost]
    wrong += _wrong_status_files(world)
    # What the outbox gave up is repaired by the sync; nobody else tells the bus.
    readers = [reader for (function, _), reader in world.stream.readers.items() if function != "outbox"]
    dropped = [record for reader in readers for record in reader.dropped]
    return wrong + [f"to the dead letters went {record['dynamodb']['Keys']}" for record in dropped]


def _moved(was: Job | None, now: Job) -> bool:
    return was is None or was.status != now.status


def _wrong(was: Job | None, now: Job) -> Iterable[str]:
    """What no write may ever do."""
    if was is None:
        if (now.version, now.status) != (1, Status.PENDING):
            yield f"it began as {now.status}"
        return
    if now.version != was.version + 1:
        yield f"it follows on v{was.version}"
    if now.status != was.status and now.status not in TRANSITIONS[was.status]:
        yield f"{was.status} → {now.status}"
    if was.is_deleted and not now.is_deleted:
        yield "a tombstone came back to life"
    if (was.id, was.tenant, was.spec, was.created_at) != (now.id, now.tenant, now.spec, now.created_at):
        yield "what was asked for has changed"


def _wrong_end(world: World, job_id: str, versions: list[Job]) -> Iterable[str]:
    last, made = versions[-1], world.cluster.made[job_id] - world.cluster.made_late[job_id]
    statuses = {job.status for job in versions}
    if last.is_deleted:
        if world.job(job_id):
            yield "it was deleted and its record is still there"
        return
    if world.job(job_id) != last:
        yield "its record is lost"
    if not last.is_terminal:
        yield f"it stays {last.status}"
    if Status.STOPPING in statuses:
        return  # by the table of states it can only have been stopped
    outcome = world.cluster.outcomes.get(job_id)
    wanted = {Status.SUCCEEDED if outcome == "Complete" else Status.FAILED}
    if job_id in world.by_hand:
        wanted.add(Status.FAILED)  # nobody may have seen how it ended before
    if last.status not in wanted:
        yield f"it is {last.status} ({last.reason}), and its Job {outcome}"
    if made != 1:
        yield f"{made} Kubernetes Jobs were created for it"


def _wrong_status_files(world: World) -> Iterable[str]:
    """Of each file the newest upload, beside what is so."""
    for key in [key for key in world.s3.versions if Place(BUCKET, key).is_job_file]:
        told = json.loads(world.s3.text(Place(BUCKET, key).status_key) or "{}")
        if told.get("object", {}).get("version_id") != world.s3.versions[key][-1][0]:
            yield f"the status file of {key} is not about its newest version: {told}"
        if told.get("state") == "active":
            yield f"the status file of {key} waits for jobs that have ended: {told}"
        for entry in told.get("jobs", ()):
            job = world.job(entry.get("job_id", ""))
            if entry["status"] not in ("rejected", job.status.value if job else "deleted"):
                yield f"the status file of {key} says {entry}, and the job is {job and job.status}"


def _wrong_totals(world: World) -> Iterable[str]:
    """The counters beside a count of the records."""
    counted: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    summed: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for (pk, sk), item in world.table.items.items():
        if sk == "JOB" and "deleted_at" not in item:
            for scope in _scopes(item):
                counted[scope][item["status"]["S"]] += 1
        elif pk.startswith("COUNTS"):
            scope = pk.rpartition("#")[0], sk
            summed[scope].update({s.value: int(item[s.value]["N"]) for s in Status if s.value in item})
    for scope in counted.keys() | summed.keys():
        if +counted[scope] != +summed[scope] or any(n < 0 for n in summed[scope].values()):
            yield f"the totals of {scope} are {dict(summed[scope])}, and the jobs {dict(counted[scope])}"


def _scopes(item: Mapping[str, Any]) -> list[tuple[str, str]]:
    own = f"COUNTS#{item['tenant']['S']}"
    workspace = [(own, f"WORKSPACE#{item['workspace_id']['N']}")] if "workspace_id" in item else []
    return [("COUNTS-ALL", "TOTAL"), (own, "TOTAL"), *workspace]


def _disordered(world: World) -> Iterable[str]:
    """News of a job that was told for the first time after later news of it."""
    newest: dict[str, int] = {}
    seen: set[tuple[str, int]] = set()
    for entry in world.bus.told:
        job_id, version = entry["id"], entry["version"]
        if (job_id, version) not in seen and version < newest.get(job_id, 0):
            yield f"the bus was told of {job_id} v{version} after v{newest[job_id]}"
        seen.add((job_id, version))
        newest[job_id] = max(version, newest.get(job_id, 0))
