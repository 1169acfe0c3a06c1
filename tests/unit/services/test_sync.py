"""The pass moves records on, repairs what events missed, and costs nothing while nothing is unsettled."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.decide import SUBMISSION_LASTS
from chalicelib.domain.observed import Outcome
from chalicelib.domain.repair import IN_TIME
from chalicelib.errors import ClusterUnavailable, JobFinished
from chalicelib.services.reconcile import Reconciler
from chalicelib.services.sync import LEASE, Sync
from tests.builders import ended_pod, later, running_pod
from tests.unit.services.conftest import ADA, MANIFEST, Yard


def test_a_job_goes_from_pending_over_running_to_succeeded(yard: Yard) -> None:
    job_id = yard.run()
    yard.cluster.show(job_id, running_pod())
    yard.sync.look()
    assert yard.says(job_id) == ("running", "Running")
    yard.cluster.show(job_id, ended_pod(0), outcome=Outcome.COMPLETE, finished_at=later(9))
    yard.sync.look()
    assert yard.says(job_id) == ("succeeded", "Completed")
    with pytest.raises(JobFinished, match="succeeded"):
        yard.jobs.stop(ADA, job_id)


def test_a_running_job_is_stopped_and_its_signal_is_kept(yard: Yard) -> None:
    job_id = yard.run()
    yard.cluster.show(job_id, running_pod())
    yard.sync.look()
    yard.jobs.stop(ADA, job_id)
    yard.outbox.deliver([job_id])
    yard.cluster.show(job_id, ended_pod(143))
    yard.sync.look()
    yard.cluster.finish_deletions()
    yard.sync.look()
    job = yard.jobs.get(ADA, job_id)
    assert (job.status, job.exit_code) == ("stopped", 143)


def test_a_job_deleted_behind_our_back_fails(yard: Yard) -> None:
    job_id = yard.run()
    yard.cluster.jobs.clear()
    yard.sync.look()
    assert yard.says(job_id) == ("failed", "JobDeleted")
    assert yard.cluster.created == [job_id], "it is not run twice"


def test_a_record_that_the_stream_forgot_is_submitted(yard: Yard) -> None:
    job_id = yard.submit()
    yard.sync.look()
    assert yard.cluster.created == [], "the outbox comes first"
    yard.clock.move(IN_TIME.total_seconds())
    yard.sync.look()
    assert yard.cluster.created == [job_id]


def test_a_dead_outbox_is_stood_in_for_after_two_sweeps(yard: Yard) -> None:
    jobs = [yard.submit() for _ in range(3)]
    yard.sync.run(yard.seconds(8 + 3 * 2))
    assert sorted(yard.cluster.created) == jobs
    assert yard.metered == [], "in time"


def test_new_records_are_left_to_an_outbox_that_gets_on_however_slowly(yard: Yard) -> None:
    jobs = [yard.submit() for _ in range(8)]
    for done in range(1, 7):
        yard.sync.sweep()
        assert yard.cluster.created == jobs[: done - 1]
        yard.outbox.deliver([jobs[done - 1]])
    yard.sync.sweep()
    yard.sync.sweep()
    assert sorted(yard.cluster.created) == jobs, "and then it died"


def test_a_record_that_a_busy_outbox_was_not_brought_is_submitted_in_a_minute(yard: Yard) -> None:
    lost = yard.submit()
    while yard.clock() - yard.jobs.get(ADA, lost).created_at < IN_TIME:
        assert lost not in yard.cluster.created
        other = yard.submit()
        yard.sync.sweep()
        yard.outbox.deliver([other])
        yard.clock.move(5)
    yard.sync.sweep()
    assert lost in yard.cluster.created
    assert [(one.kind, one.job_id) for one in yard.metered] == [("LateSubmission", lost)]


def test_a_job_that_no_record_knows_is_deleted_even_when_all_is_settled(yard: Yard) -> None:
    job_id = yard.run()
    yard.jobs.delete(ADA, job_id)
    tombstone = yard.store.get(job_id)
    assert tombstone is not None
    yard.store.remove(tombstone)
    assert yard.sync.run(yard.seconds(60)) == 0
    assert yard.sync.run(yard.seconds(60), whole=True) == 1
    assert yard.cluster.jobs[job_id].deleting


def test_idle_runs_list_nothing(yard: Yard) -> None:
    assert yard.sync.run(yard.seconds(60)) == 0
    assert yard.cluster.calls == {}


def test_finished_jobs_are_read_once_and_not_with_every_pass(yard: Yard) -> None:
    job_id = yard.run()
    yard.cluster.show(job_id, ended_pod(0), outcome=Outcome.COMPLETE, finished_at=later(9))
    for _ in range(3):
        yard.sync.look()
    reads = len(yard.bench.spy.asked("batch_get_item"))
    yard.sync.look()
    assert len(yard.bench.spy.asked("batch_get_item")) == reads


def test_a_finished_job_that_is_deleted_later_is_cleaned_up(yard: Yard) -> None:
    job_id = yard.run()
    yard.cluster.show(job_id, ended_pod(0), outcome=Outcome.COMPLETE, finished_at=later(9))
    for _ in range(2):
        yard.sync.look()
    yard.jobs.delete(ADA, job_id)
    yard.sync.look()
    yard.cluster.finish_deletions()
    yard.sync.look()
    assert yard.store.get(job_id) is None


def test_a_run_ends_when_everything_is_settled(yard: Yard) -> None:
    job_id = yard.run()
    turns = iter(range(100))

    def finish_after_a_while() -> None:
        if next(turns) == 2:
            yard.cluster.show(job_id, ended_pod(0), outcome=Outcome.COMPLETE, finished_at=later(9))

    yard.cluster.before["watch"] = finish_after_a_while
    began = yard.clock()
    yard.sync.run(yard.seconds(60))
    assert yard.says(job_id) == ("succeeded", "Completed")
    assert yard.clock() - began < timedelta(seconds=20)
    assert yard.store.lease_is_free("sync", yard.clock())


def test_a_run_ends_before_its_time_is_up_and_frees_the_lease(yard: Yard) -> None:
    yard.run()
    assert yard.sync.run(yard.seconds(1)) == 1
    assert yard.store.lease_is_free("sync", yard.clock())


def test_a_run_notes_once_what_goes_on(yard: Yard) -> None:
    yard.run()
    yard.sync.run(yard.seconds(30))
    (loads,) = yard.noted.loaded
    assert [(load.pool, load.tenant, load.active) for load in loads] == [
        (None, None, 1),
        ("default", None, 1),
        ("default", "acme", 1),
    ]


def test_there_is_one_holder_at_a_time(yard: Yard) -> None:
    yard.run()
    other = yard.another_sync("other")
    passes: list[int] = []
    yard.cluster.before["workloads"] = lambda: passes.append(other.run(yard.seconds(1)))
    yard.sync.run(yard.seconds(1))
    assert passes == [0]


def test_a_holder_that_died_is_waited_out(yard: Yard) -> None:
    yard.run()

    yard.store.acquire_lease("sync", "dead", yard.clock(), timedelta(seconds=20))
    assert yard.sync.run(yard.seconds(30)) >= 1


def test_who_waits_for_the_lease_only_reads_it_until_it_is_free(yard: Yard) -> None:
    yard.run()
    yard.store.acquire_lease("sync", "dead", yard.clock(), timedelta(seconds=20))
    yard.bench.spy.calls.clear()
    assert yard.sync.run(yard.seconds(20)) == 0
    assert yard.bench.spy.operations.count("update_item") == 1, "to see that it is held"
    assert yard.bench.spy.operations.count("get_item") > 20


def test_one_pool_that_does_not_answer_says_so_and_loses_nothing(yard: Yard) -> None:
    job_id = yard.submit()

    def down() -> None:
        raise ClusterUnavailable("connection refused")

    yard.cluster.before = {"workloads": down, "submit": down}
    yard.sync.look()
    assert yard.says(job_id) == ("pending", "ClusterUnavailable")
    assert yard.noted.failures == [("default", "connection refused")]
    yard.cluster.before = {}
    yard.sync.look()
    assert len(yard.noted.failures) == 1
    assert yard.says(job_id) == ("pending", "Submitted")


def test_a_list_that_fails_does_not_end_jobs_that_nobody_looked_at(yard: Yard) -> None:
    job_id = yard.submit()
    yard.cluster.after["submit"] = lambda: (_ for _ in ()).throw(ClusterUnavailable("the answer is lost"))
    yard.outbox.deliver([job_id])
    yard.jobs.stop(ADA, job_id)
    yard.clock.move(SUBMISSION_LASTS.total_seconds())
    yard.cluster.before["workloads"] = lambda: (_ for _ in ()).throw(ClusterUnavailable("down"))
    yard.sync.look()
    assert yard.says(job_id) == ("stopping", "ClusterUnavailable")
    yard.cluster.before.clear()
    yard.sync.look()
    yard.cluster.finish_deletions()
    yard.clock.move(SUBMISSION_LASTS.total_seconds())
    yard.sync.look()
    assert yard.says(job_id) == ("stopped", "Stopped")
    assert yard.cluster.jobs == {}


def test_a_job_that_ran_and_was_stopped_while_a_pass_looked_is_not_created_again(yard: Yard) -> None:
    job_id = yard.submit()

    def run_and_stop() -> None:
        yard.outbox.deliver([job_id])
        yard.jobs.stop(ADA, job_id)
        yard.cluster.jobs.clear()
        yard.reconciler.settle(yard.store.get(job_id), None, "default")

    yard.cluster.before["workloads"] = run_and_stop
    yard.sync.look()
    assert yard.cluster.created == [job_id]
    assert yard.says(job_id) == ("stopped", "Stopped")


def test_a_cluster_that_does_not_answer_is_waited_for_once_a_pass(yard: Yard) -> None:
    jobs = [yard.submit() for _ in range(3)]
    yard.clock.move(IN_TIME.total_seconds())

    def down() -> None:
        raise ClusterUnavailable("no answer")

    yard.cluster.before = {"submit": down}
    yard.sync.look()
    assert yard.cluster.calls["submit"] == 1
    assert yard.outbox.deliver(jobs) == []
    assert yard.cluster.calls["submit"] == 2


def of_a_newer_release(yard: Yard, job_id: str) -> None:
    """Make the record one that this release cannot read."""
    yard.bench.client.update_item(
        TableName=yard.bench.table,
        Key={"pk": {"S": f"JOB#{job_id}"}, "sk": {"S": "JOB"}},
        UpdateExpression="SET #s = :s",
        ExpressionAttributeNames={"#s": "schema"},
        ExpressionAttributeValues={":s": {"N": "999"}},
    )


def test_a_record_of_a_newer_release_is_left_alone_and_holds_nobody_up(yard: Yard) -> None:
    newer, other = yard.submit(), yard.submit()
    of_a_newer_release(yard, newer)
    yard.sync.run(yard.seconds(10))
    assert yard.cluster.created == [other]


def test_a_run_ends_when_it_can_read_nothing_that_is_unsettled(yard: Yard) -> None:
    of_a_newer_release(yard, yard.submit())
    began = yard.clock()
    assert yard.sync.run(yard.seconds(60)) == 0
    assert yard.clock() == began


def test_a_job_whose_pool_is_no_longer_configured_says_so(yard: Yard) -> None:
    job_id = yard.submit()
    reconciler = Reconciler(yard.store, {}, yard.cluster, MANIFEST, yard.clock)
    pace = yard.pace("me", pools={})
    Sync(reconciler, yard.store, {}, yard.cluster, yard.clock, pace).look()
    assert yard.says(job_id) == ("pending", "PoolMissing")


def test_records_that_cannot_be_read_are_not_taken_for_missing_ones(yard: Yard) -> None:
    job_id, other = yard.run(), yard.submit()
    yard.cluster.show(job_id, ended_pod(0), outcome=Outcome.COMPLETE, finished_at=later(9))
    yard.sync.look()
    of_a_newer_release(yard, job_id)
    yard.clock.move(IN_TIME.total_seconds())
    looks = yard.cluster.calls["workloads"]
    yard.another_sync("after the lease ran out").look()
    assert yard.cluster.calls["workloads"] == looks + 1
    assert not yard.cluster.jobs[job_id].deleting
    assert other in yard.cluster.created


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_holder_that_slept_through_its_lease_writes_nothing_when_it_wakes(yard: Yard, moment: str) -> None:
    job_id = yard.run()
    yard.cluster.show(job_id, running_pod())
    other = yard.another_sync("other")

    def sleep_while_another_takes_over() -> None:
        yard.cluster.before.clear()
        yard.cluster.after.clear()
        yard.clock.move(60)
        yard.cluster.show(job_id, ended_pod(0), outcome=Outcome.COMPLETE, finished_at=later(9))
        assert yard.store.acquire_lease(LEASE, "other", yard.clock(), timedelta(seconds=20))
        if moment == "after":
            other.look()

    yard.cluster.before["workloads"] = sleep_while_another_takes_over
    before = yard.store.get(job_id)
    yard.sync.run(yard.seconds(60))
    if moment == "before":
        assert yard.store.get(job_id) == before, (
            "what it saw is not written, although nothing stood in its way"
        )
        other.look()
    assert yard.says(job_id) == ("succeeded", "Completed")


def test_a_kick_does_not_wait_for_a_lease_that_is_held(yard: Yard) -> None:
    yard.run()
    yard.store.acquire_lease("sync", "other", yard.clock(), timedelta(seconds=20))
    began = yard.clock()
    assert yard.sync.run(yard.seconds(60), patient=False) == 0
    assert yard.clock() == began
