"""Any order of what people, clusters and time do, with faults in between: what must hold always holds, and
once the faults end, everything comes right.

CI takes the same bounded number of examples each time; `TRAINYARD_PROOF_EXAMPLES=5000` looks for new ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.builders import NAMESPACE
from tests.proof import ledger
from tests.proof.kubernetes import Program
from tests.proof.scenarios import a_file
from tests.proof.wire import Call, Plan, Trouble
from tests.proof.world import World

EXAMPLES = int(os.environ.get("TRAINYARD_PROOF_EXAMPLES", "0"))
FUNCTIONS = ["api", "outbox", "state_changes", "sync", "uploads", "upload_status"]
SERVICES = ["dynamodb", "kubernetes", "eventbridge", "lambda", "s3"]
PAUSES = [0.3, 3.0, 12.0, 35.0]

jobs = st.integers(0, 2)  # of those that were submitted, counted round
moments = st.sampled_from([0.0, 0.3, 1.0, 4.0, 12.0])  # that pass after somebody did something
programs = st.builds(
    Program,
    seconds=st.sampled_from([0.5, 4.0, 20.0, 200.0]),
    exits=st.sampled_from([(0,), (1,), (1, 0)]),
)


class Disorder(RuleBasedStateMachine):
    """`stopped` and `deleted`: what callers were told; `asked_…`: what they asked for, answered or not."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.submitted: list[str] = []
        self.by_key: dict[str, set[str]] = {}
        self.stopped: set[str] = set()
        self.deleted: set[str] = set()
        self.asked_to_stop: set[str] = set()
        self.asked_to_delete: set[str] = set()
        self.strangers: set[str] = set()
        self.uploaded = 0

    # ---- people

    @initialize(seconds=moments, latency=st.sampled_from([0.0, 0.03, 0.4]))
    def begin(self, seconds: float, latency: float) -> None:
        self.world.wire.latency = latency
        self.submit(Program(200.0), 0, 1, seconds)

    @rule(program=programs, max_retries=st.integers(0, 1), nodes=st.integers(1, 2), seconds=moments)
    def submit(self, program: Program, max_retries: int, nodes: int, seconds: float) -> None:
        job = self.world.submit(None, program, max_retries=max_retries, nodes=nodes, workspace_id=nodes)
        if job:
            self.submitted.append(job.id)
        self.world.scheduler.run(seconds)

    @rule(key=st.sampled_from(["a", "b"]), seconds=moments)
    def submit_with_a_key(self, key: str, seconds: float) -> None:
        job = self.world.submit(key)
        if job:
            self.by_key.setdefault(key, set()).add(job.id)
            if job.id not in self.submitted:
                self.submitted.append(job.id)
        self.world.scheduler.run(seconds)

    @rule(name=st.sampled_from(["a.json", "b.yaml"]), count=st.integers(1, 3), seconds=moments)
    def upload(self, name: str, count: int, seconds: float) -> None:
        self.world.upload(name, a_file(count))
        self.uploaded += count
        self.world.scheduler.run(seconds)

    @precondition(lambda self: self.submitted)
    @rule(number=jobs, seconds=moments)
    def stop(self, number: int, seconds: float) -> None:
        job_id = self._job(number)
        self.asked_to_stop.add(job_id)
        if self.world.stop(job_id):
            self.stopped.add(job_id)
        self.world.scheduler.run(seconds)

    @precondition(lambda self: self.submitted)
    @rule(number=jobs, seconds=moments)
    def delete(self, number: int, seconds: float) -> None:
        job_id = self._job(number)
        self.asked_to_delete.add(job_id)
        if self.world.delete(job_id):
            self.deleted.add(job_id)
        self.world.scheduler.run(seconds)

    @rule(tenant=st.sampled_from(["acme", None]))
    def recount(self, tenant: str | None) -> None:
        self.world.call(lambda parts: parts.store.recount(tenant), "recount")

    # ---- the cluster and time

    @rule(seconds=st.sampled_from([0.1, 1.0, 7.0, 30.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.scheduler.run(seconds)

    @precondition(lambda self: self.submitted)
    @rule(number=jobs, exit_code=st.sampled_from([0, 1, 137]), seconds=moments)
    def a_container_ends(self, number: int, exit_code: int, seconds: float) -> None:
        self.world.cluster.ended(self._job(number), exit_code)
        self.world.scheduler.run(seconds)

    @precondition(lambda self: self.submitted)
    @rule(number=jobs, seconds=moments)
    def a_job_is_deleted_by_hand(self, number: int, seconds: float) -> None:
        self.world.delete_by_hand(self._job(number))
        self.world.scheduler.run(seconds)

    @rule(is_ours=st.booleans())
    def a_job_without_a_record_appears(self, is_ours: bool) -> None:
        name = f"job-{len(self.world.cluster.made):026d}"
        if not is_ours:
            self.strangers.add(name)
        self.world.stray(name, "trainyard" if is_ours else "another")

    @rule(is_there=st.booleans())
    def the_namespace_comes_and_goes(self, is_there: bool) -> None:
        self.world.cluster.namespaces = {NAMESPACE} if is_there else set()

    # ---- what goes wrong

    @rule(
        function=st.sampled_from(FUNCTIONS),
        of_effects=st.booleans(),
        trouble=st.sampled_from(Trouble),
        after=st.integers(0, 6),
        seconds=st.sampled_from(PAUSES),
    )
    def a_call_will_fail(
        self, function: str, of_effects: bool, trouble: Trouble, after: int, seconds: float
    ) -> None:
        self.world.wire.plans.append(once(function, of_effects, trouble, after, seconds))

    @rule(
        service=st.sampled_from(SERVICES),
        trouble=st.sampled_from([Trouble.REFUSED, Trouble.UNSENT, Trouble.UNHEARD]),
        seconds=st.sampled_from([5.0, 40.0]),
    )
    def a_service_is_out(self, service: str, trouble: Trouble, seconds: float) -> None:
        until = self.world.scheduler.now.timestamp() + seconds
        clock = self.world.scheduler.clock
        self.world.wire.plans.append(
            lambda call: (trouble, 0.0) if call.service == service and clock().timestamp() < until else None
        )

    @rule(
        function=st.sampled_from(["outbox", "state_changes"]),
        shard=st.integers(0, 1),
        number=st.integers(1, 5),
    )
    def records_are_delivered_again(self, function: str, shard: int, number: int) -> None:
        self.world.stream.readers[function, shard].again(number)

    @rule(is_of_files=st.booleans(), number=st.integers(1, 3))
    def messages_are_delivered_again(self, is_of_files: bool, number: int) -> None:
        (self.world.uploads if is_of_files else self.world.upload_changes).again(number)

    @rule(is_kick=st.booleans())
    def the_sync_is_started_once_more(self, is_kick: bool) -> None:
        self.world.start_sync(kick=is_kick)

    @rule(after=st.integers(1, 7))
    def a_sync_sleeps_through_its_lease(self, after: int) -> None:
        self.world.wire.plans.append(once("sync", True, Trouble.STALLED_BEFORE, after, 35.0))
        self.world.start_sync()
        self.world.scheduler.run(25.0)
        self.world.start_sync()
        self.world.scheduler.run(12.0)

    @rule(function=st.sampled_from(FUNCTIONS), seconds=st.sampled_from([-25.0, -3.0, 0.0, 3.0, 25.0]))
    def a_clock_is_wrong(self, function: str, seconds: float) -> None:
        self.world.clocks[function] = seconds
        self.world.cool_down(function)

    @rule(seed=st.none() | st.integers(0, 9))
    def watches_tell_in_disorder(self, seed: int | None) -> None:
        self.world.disorder = None if seed is None else Random(seed)

    @rule()
    def the_cluster_forgets_its_versions(self) -> None:
        self.world.cluster.forget()

    @rule(number=st.integers(1, 3))
    def the_bus_refuses_entries(self, number: int) -> None:
        self.world.bus.refuses = number

    # ---- what must hold

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert not ledger.always(self.world)

    @invariant()
    def a_key_gives_one_job(self) -> None:
        assert all(len(job_ids) == 1 for job_ids in self.by_key.values())

    def teardown(self) -> None:
        try:
            self.world.heal()
            self.world.converge()
            assert not [*ledger.at_rest(self.world), *self._broken_promises()]
        finally:
            self.world.close()

    def _broken_promises(self) -> Iterator[str]:
        """What callers were told and is not so."""
        for job_id in self.submitted:
            job = self.world.job(job_id)
            end = job.status if job else "gone"
            if not self.world.ledger.history[job_id]:
                yield f"{job_id} was accepted and is unheard of"
            if job_id in self.deleted and end != "gone":
                yield f"{job_id} was deleted and is {end}"
            if job_id not in self.asked_to_delete and end == "gone":
                yield f"nobody deleted {job_id}, and it is gone"
            if job_id in self.stopped - self.asked_to_delete and end != "stopped":
                yield f"{job_id} was stopped and is {end}"
            if job_id not in self.asked_to_stop and end == "stopped":
                yield f"nobody stopped {job_id}, and it is stopped"
        of_files = sum(versions[0].source is not None for versions in self.world.ledger.history.values())
        if of_files != self.uploaded:
            yield f"{self.uploaded} jobs were uploaded, and {of_files} came of it"
        for name in self.strangers - self.world.cluster.names():
            yield f"{name} was not ours to delete"

    def _job(self, number: int) -> str:
        return self.submitted[number % len(self.submitted)]


def once(function: str, of_effects: bool, trouble: Trouble, after: int, seconds: float) -> Plan:
    """A plan: so many of the function's calls (or of its side effects) go well, then one does not."""
    left = [after]

    def plan(call: Call) -> tuple[Trouble, float] | None:
        if call.function != function or (of_effects and not call.number):
            return None
        left[0] -= 1
        return (trouble, seconds) if left[0] == -1 else None

    return plan


TestDisorder = Disorder.TestCase
TestDisorder.settings = settings(
    max_examples=EXAMPLES or 120,
    stateful_step_count=50,
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
