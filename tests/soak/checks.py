"""What must be so after a soak, each looked at from outside: records, runs, cluster, totals, events."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Any

from chalicelib.bootstrap import utc_now
from chalicelib.cluster.api import KubernetesApi
from chalicelib.domain import labels
from chalicelib.domain.job import Job
from chalicelib.domain.states import TERMINAL, Status
from chalicelib.errors import TrainyardError
from chalicelib.store.dynamo import DynamoStore, StoreOptions
from infra.local import ministack
from tests.soak.clients import TENANT, Clients, Witness
from tests.soak.plan import File, Submission, Wanted
from tests.stack import RunningStack

BEFORE_RESTART_SECONDS = 30.0  # a move of so long ago may not have been told yet when MiniStack ended
QUEUES = ("UploadsQueue", "UploadChangesQueue")
LETTERS = ("UploadsDeadLetters", "UploadChangesDeadLetters", "OutboxDeadLetters", "StateChangesDeadLetters")


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind`: lost, twice or wrong."""

    kind: str
    text: str


class Inspection:
    """Waits until a stack is settled, and looks at everything then."""

    def __init__(
        self,
        stack: RunningStack,
        clients: Clients,
        submissions: Sequence[Submission],
        moves: Witness,
        restarts: Sequence[tuple[float, float]],
    ) -> None:
        self._clients = clients
        self._moves = moves
        self._restarts = restarts
        self._files = [each for each in submissions if isinstance(each, File)]
        alone = [each for each in submissions if isinstance(each, Wanted)]
        self._jobs = [*alone, *(wanted for file in self._files for wanted in file.jobs)]
        deployed = ministack.deployed(stack.local)
        self._store = DynamoStore(
            ministack.client(stack.local, "dynamodb"),
            StoreOptions(table=deployed.jobs_table),
            clock=utc_now,
            sleep=time.sleep,
            random=SystemRandom(),
        )
        self._kubernetes = KubernetesApi.from_kubeconfig(stack.kubeconfig, None, 30)
        self._resources = deployed.resources
        self._sqs = ministack.client(stack.local, "sqs")
        self._records: dict[int, Job | None] = {}
        self.starts = 0
        self.told_in_full = 0

    def await_settled(self, seconds: float) -> None:
        """Whatever is not by then is for `faults` to say."""
        until = time.monotonic() + seconds
        while not self._is_settled() and time.monotonic() < until:
            time.sleep(0.5)

    def faults(self) -> list[Fault]:
        self._read_records()
        looks = (self._of_records, self._of_runs, self._of_lists, self._of_cluster)
        more = (self._of_totals, self._of_files, self._of_moves, self._of_letters)
        return [fault for look in (*looks, *more) for fault in look()]

    def _is_settled(self) -> bool:
        try:
            if self._store.has_unsettled() or any(map(self._left_in, QUEUES)):
                return False
        except TrainyardError:
            return False
        self._read_records()
        return not [*self._of_files(), *self._of_moves()]

    def _read_records(self) -> None:
        ids = {wanted.number: self._clients.accepted.get(wanted.number, "") for wanted in self._jobs}
        found = self._store.get_many([job_id for job_id in ids.values() if job_id])
        self._records = {number: found.get(job_id) for number, job_id in ids.items()}

    def _of_records(self) -> Iterator[Fault]:
        for wanted in self._jobs:
            record, status = self._records[wanted.number], wanted.final
            if wanted.number not in self._clients.accepted:
                yield Fault("lost", f"{wanted.name} was never accepted")
            elif status is None and record is not None:
                yield Fault("wrong", f"{wanted.name} is deleted, and its record is still there: {record}")
            elif status is not None and record is None:
                yield Fault("lost", f"{wanted.name} has no record")
            elif record and (record.status.value, record.spec.name) != (status, wanted.name):
                yield Fault("wrong", f"{wanted.name} should be {status}: {record}")
            elif record and record.exit_code != _exit_code(wanted) and status != "stopped":
                yield Fault("wrong", f"{wanted.name} has the exit code {record.exit_code}")

    def _of_runs(self) -> Iterator[Fault]:
        self.starts = 0
        for wanted in self._jobs:
            file = self._clients.marks / wanted.name
            marks = file.read_text().splitlines() if file.exists() else []
            pods = [mark.split()[0] for mark in marks]
            self.starts += len(pods)
            job_id = self._clients.accepted.get(wanted.number, "?")
            if len(pods) < wanted.starts.start:
                yield Fault("lost", f"{wanted.name} was started {len(pods)} times: {marks}")
            elif len(pods) not in wanted.starts or len(set(pods)) < len(pods):
                yield Fault("twice", f"{wanted.name} was started {len(pods)} times: {marks}")
            elif not all(pod.startswith(job_id) for pod in pods):
                yield Fault("wrong", f"{wanted.name} is {job_id} and ran as {pods}")

    def _of_lists(self) -> Iterator[Fault]:
        """Two jobs of one submission would have one name."""
        names: Counter[str] = Counter()
        for page in range(1, len(self._jobs) // 100 + 3):
            path = f"/api/v1/training/jobs?page_size=100&page={page}"
            names.update(job["name"] for job in self._clients.call("GET", path).json()["data"]["items"])
        wanted = {each.name for each in self._jobs if each.final}
        yield from (Fault("twice", f"{name} is {count} jobs") for name, count in names.items() if count > 1)
        yield from (Fault("lost", f"{name} is in no list") for name in wanted - names.keys())
        yield from (Fault("wrong", f"{name} is still listed") for name in names.keys() - wanted)

    def _of_cluster(self) -> Iterator[Fault]:
        stays = {self._clients.accepted.get(each.number) for each in self._jobs if _leaves_a_job(each)}
        for job in self._kubernetes.items(f"/apis/batch/v1/namespaces/trainyard-{TENANT}/jobs", {}):
            if job["metadata"]["labels"][labels.JOB] not in stays:
                yield Fault("wrong", f"a Job is left over: {job['metadata']['name']}")
            if (job.get("status") or {}).get("active"):
                yield Fault("wrong", f"a Job goes on: {job['metadata']['name']}")

    def _of_totals(self) -> Iterator[Fault]:
        wanted = Counter(each.final for each in self._jobs if each.final)
        shown = {status.value: self._total(status) for status in Status}
        counted = self._store.recount(TENANT)
        if not shown == counted == {status.value: wanted[status.value] for status in Status}:
            yield Fault("wrong", f"totals {shown}, counted {counted}, should be {wanted}")
        if (overall := self._store.recount(None)) != counted:
            yield Fault("wrong", f"all tenants have {overall}")

    def _total(self, status: Status) -> int:
        path = f"/api/v1/training/jobs?page_size=1&status={status.value}"
        return int(self._clients.call("GET", path).json()["data"]["pagination"]["total"])

    def _of_files(self) -> Iterator[Fault]:
        for file in self._files:
            told = self._clients.status_file(file)
            if told is None or told["state"] != "finished" or len(told["jobs"]) != len(file.jobs):
                yield Fault("wrong", f"the status file of {file.name} says {told and told['summary']}")
                continue
            for wanted, entry in zip(file.jobs, told["jobs"], strict=True):
                if entry["status"] not in _entries(wanted, file):
                    yield Fault("wrong", f"{wanted.name} in the status file of {file.name}: {entry}")

    def _of_moves(self) -> Iterator[Fault]:
        """On the bus, first tellings only: in order for all, and in full for those that MiniStack, which
        keeps no stream over a restart, was not restarted under."""
        told: defaultdict[str, dict[int, Any]] = defaultdict(dict)
        self.told_in_full = 0
        for move in self._moves.look():
            told[move["id"]].setdefault(move["version"], move)
        for wanted in self._jobs:
            moves = told[self._clients.accepted.get(wanted.number, "")]
            if list(moves) != sorted(moves):
                yield Fault("wrong", f"{wanted.name} was told of in the order {list(moves)}")
            if _is_whole(list(moves.values()), wanted):
                self.told_in_full += 1
            elif not self._met_restart(wanted):
                told_of = [(move["version"], move["from"], move["to"]) for move in moves.values()]
                yield Fault("lost", f"moves of {wanted.name}: {told_of}")

    def _met_restart(self, wanted: Wanted) -> bool:
        record = self._records[wanted.number]
        if record is None or record.finished_at is None:
            return bool(self._restarts)
        began, ended = record.created_at.timestamp(), record.finished_at.timestamp()
        return any(began <= back and down - BEFORE_RESTART_SECONDS <= ended for down, back in self._restarts)

    def _of_letters(self) -> Iterator[Fault]:
        for name in LETTERS:
            if name in self._resources and (left := self._left_in(name)):
                yield Fault("lost", f"{left} messages in {name}")

    def _left_in(self, queue: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        url = self._resources[queue]
        found = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)


def _exit_code(wanted: Wanted) -> int:
    return 3 if wanted.final == "failed" else 0


def _leaves_a_job(wanted: Wanted) -> bool:
    """Kubernetes keeps those that ended by themselves."""
    return wanted.final in ("succeeded", "failed")


def _entries(wanted: Wanted, file: File) -> set[str]:
    """What a status file may say of the job in the end. A file that was uploaded again may find its token
    taken by a job that has been deleted since. That a job is deleted which had ended is no move of it, and is
    told if the file was not written yet."""
    if wanted.final:
        return {wanted.final}
    ended = {wanted.moment} if wanted.moment == "succeeded" else set()
    return {"deleted", *ended, *(["rejected"] if file.tokens else [])}


def _is_whole(moves: Sequence[Any], wanted: Wanted) -> bool:
    """Whether each move begins where the last one ended, from a new job to its end."""
    if not moves or [move["from"] for move in moves] != [None, *(move["to"] for move in moves[:-1])]:
        return False
    last = moves[-1]["to"]
    return last == wanted.final if wanted.final else last == "stopping" or Status(last) in TERMINAL
