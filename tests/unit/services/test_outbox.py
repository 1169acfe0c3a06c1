"""The outbox carries each record out exactly once, whatever dies or repeats on the way."""

from __future__ import annotations

from threading import Barrier

import pytest

from chalicelib.domain.decide import SUBMISSION_LASTS
from chalicelib.errors import (
    ClusterForbids,
    ClusterRejected,
    ClusterUnavailable,
    FunctionUnavailable,
    JobNotFound,
    SignInFailed,
    StoreUnavailable,
)
from chalicelib.services.outbox import GOOD_FOR, PORTION, Outbox
from chalicelib.services.side_by_side import SideBySide
from tests.builders import running_pod
from tests.unit.services.conftest import ADA, Yard
from tests.unit.store.support import client_error


class Crash(BaseException):
    """The process dies here: nothing of ours may catch it."""


def crash() -> None:
    raise Crash


def wait_out_submissions(yard: Yard) -> None:
    yard.clock.move(SUBMISSION_LASTS.total_seconds())


def test_a_new_job_is_handed_to_the_cluster(yard: Yard) -> None:
    job_id = yard.run()
    assert yard.cluster.created == [job_id]
    assert yard.says(job_id) == ("pending", "Submitted")


def test_submitted_is_told_before_what_the_cluster_tells_of_it(yard: Yard) -> None:
    job_id = yard.submit()
    handed_over_at = yard.clock()
    yard.cluster.after["submit"] = lambda: yard.clock.move(1)
    yard.outbox.deliver([job_id])
    accepted, submitted = yard.store.events(job_id, 10, None).items
    assert (accepted.reason, submitted.reason) == ("Accepted", "Submitted")
    assert submitted.first_timestamp == handed_over_at


def test_a_record_that_is_delivered_again_changes_nothing(yard: Yard) -> None:
    job_id = yard.run()
    before = yard.store.get(job_id)
    assert yard.outbox.deliver([job_id, job_id]) == []
    assert yard.cluster.created == [job_id]
    assert yard.store.get(job_id) == before


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_around_the_creation_leaves_exactly_one_job(yard: Yard, moment: str) -> None:
    job_id = yard.submit()
    getattr(yard.cluster, moment)["submit"] = crash
    with pytest.raises(Crash):
        yard.outbox.deliver([job_id])
    getattr(yard.cluster, moment).clear()
    yard.outbox.deliver([job_id])
    assert yard.cluster.created == [job_id]
    assert yard.says(job_id) == ("pending", "Submitted")


def test_a_stop_that_races_the_submission_ends_stopped_with_no_job_left(yard: Yard) -> None:
    job_id = yard.submit()
    yard.cluster.after["submit"] = lambda: yard.jobs.stop(ADA, job_id)
    yard.outbox.deliver([job_id])
    yard.cluster.finish_deletions()
    wait_out_submissions(yard)
    yard.sync.look()
    assert yard.says(job_id) == ("stopped", "Stopped")
    assert yard.cluster.jobs == {}


def test_a_job_that_was_stopped_for_good_while_it_was_created_is_taken_back(yard: Yard) -> None:
    job_id = yard.submit()

    def stop_and_settle() -> None:
        yard.jobs.stop(ADA, job_id)
        wait_out_submissions(yard)
        yard.reconciler.settle(yard.store.get(job_id), None, "default")

    yard.cluster.after["submit"] = stop_and_settle
    yard.outbox.deliver([job_id])
    assert yard.says(job_id) == ("stopped", "Stopped")
    assert yard.cluster.jobs[job_id].deleting


def test_a_job_that_was_deleted_for_good_while_it_was_created_is_taken_back(yard: Yard) -> None:
    job_id = yard.submit()

    def delete_and_settle() -> None:
        yard.jobs.delete(ADA, job_id)
        wait_out_submissions(yard)
        yard.reconciler.settle(yard.store.get(job_id), None, "default")

    yard.cluster.after["submit"] = delete_and_settle
    yard.outbox.deliver([job_id])
    assert yard.store.get(job_id) is None
    assert yard.cluster.jobs[job_id].deleting


def test_a_stop_before_the_submission_creates_nothing(yard: Yard) -> None:
    job_id = yard.submit()
    yard.jobs.stop(ADA, job_id)
    yard.outbox.deliver([job_id])
    assert yard.says(job_id) == ("stopping", "StopRequested")
    wait_out_submissions(yard)
    yard.outbox.deliver([job_id])
    assert yard.says(job_id) == ("stopped", "Stopped")
    assert yard.cluster.created == []


def test_a_deleted_job_is_gone_at_once_and_cleaned_up_after(yard: Yard) -> None:
    job_id = yard.run()
    yard.cluster.show(job_id, running_pod())
    yard.jobs.delete(ADA, job_id)
    with pytest.raises(JobNotFound):
        yard.jobs.get(ADA, job_id)
    yard.outbox.deliver([job_id])
    assert yard.cluster.jobs[job_id].deleting
    assert yard.store.get(job_id) is not None, "the tombstone stays until the cluster is clean"
    yard.cluster.finish_deletions()
    yard.sync.look()
    assert yard.store.get(job_id) is None


@pytest.mark.parametrize(
    ("trouble", "reason", "words"),
    [
        (ClusterUnavailable("no route to 10.0.0.1"), "ClusterUnavailable", "the cluster does not answer"),
        (ClusterForbids("exceeded quota: gpus"), "ClusterForbids", "exceeded quota: gpus"),
        (SignInFailed("EKS cluster 'a' is being deleted"), "ClusterUnavailable", "'a' is being deleted"),
    ],
    ids=["the cluster is down", "the quota is used up", "the sign-in fails"],
)
def test_what_the_cluster_cannot_take_now_waits_and_says_why(
    yard: Yard, trouble: Exception, reason: str, words: str
) -> None:
    def fail() -> None:
        raise trouble

    job_id = yard.submit()
    yard.cluster.before["submit"] = fail
    assert yard.outbox.deliver([job_id]) == []
    assert yard.says(job_id) == ("pending", reason)
    assert words in yard.jobs.get(ADA, job_id).message
    version = yard.jobs.get(ADA, job_id).version
    yard.outbox.deliver([job_id])
    assert yard.jobs.get(ADA, job_id).version == version, "the same trouble is written once"
    yard.cluster.before.clear()
    yard.sync.look()
    assert yard.says(job_id) == ("pending", "Submitted")


def test_a_missing_namespace_keeps_the_job_waiting_until_it_is_there(yard: Yard) -> None:
    yard.cluster.namespaces.clear()
    job_id = yard.run()
    assert yard.says(job_id) == ("pending", "NamespaceMissing")
    yard.cluster.namespaces.add("trainyard-acme")
    yard.sync.look()
    assert yard.cluster.created == [job_id]


def test_what_kubernetes_refuses_for_good_fails_with_its_words(yard: Yard) -> None:
    def refuse() -> None:
        raise ClusterRejected("spec.template: Invalid value")

    yard.cluster.before["submit"] = refuse
    job = yard.jobs.get(ADA, yard.run())
    assert (job.status, job.reason) == ("failed", "ClusterRejected")
    assert "spec.template: Invalid value" in job.message


@pytest.mark.parametrize("trouble", ["the batch", "the batch and one of its records"])
def test_one_jobs_trouble_holds_no_other_back(yard: Yard, trouble: str) -> None:
    broken, fine = yard.submit(), yard.submit()
    yard.bench.spy.fail("batch_get_item", client_error("InternalServerError"))
    if trouble == "the batch":
        assert yard.outbox.deliver([broken, fine]) == []
    else:
        yard.bench.spy.fail("get_item", client_error("InternalServerError"))
        assert yard.outbox.deliver([broken, fine]) == [broken]
        assert yard.cluster.created == [fine]
        assert yard.outbox.deliver([broken]) == []
    assert set(yard.cluster.created) == {broken, fine}


def test_the_records_of_a_batch_are_read_together(yard: Yard) -> None:
    jobs = [yard.submit() for _ in range(PORTION + 3)]
    yard.bench.spy.calls.clear()
    yard.outbox.deliver(jobs)
    assert yard.cluster.created == jobs
    assert len(yard.bench.spy.asked("batch_get_item")) == 2
    assert len(yard.bench.spy.asked("get_item")) == 1, "of the lease"


def test_what_was_read_too_long_ago_is_read_again(yard: Yard) -> None:
    first, second = yard.submit(), yard.submit()

    def take_long_while_somebody_stops_the_other() -> None:
        yard.clock.move(GOOD_FOR.total_seconds())
        yard.jobs.stop(ADA, second)

    yard.cluster.after["submit"] = take_long_while_somebody_stops_the_other
    yard.outbox.deliver([first, second])
    assert yard.cluster.created == [first]


def test_several_jobs_are_worked_off_side_by_side(yard: Yard) -> None:
    jobs = [yard.submit() for _ in range(3)]
    yard.cluster.before["submit"] = Barrier(len(jobs), timeout=30).wait
    together = SideBySide(len(jobs))
    outbox = Outbox(yard.reconciler, yard.store, lambda: None, yard.clock, together=together)
    assert outbox.deliver(jobs) == []
    assert sorted(yard.cluster.created) == jobs
    assert {yard.says(job_id) for job_id in jobs} == {("pending", "Submitted")}


def test_that_several_were_submitted_is_written_down_together(yard: Yard) -> None:
    jobs = [yard.submit() for _ in range(PORTION)]
    before = len(yard.bench.spy.asked("transact_write_items"))
    yard.outbox.deliver(jobs)
    assert len(yard.bench.spy.asked("transact_write_items")) == before + 1
    assert {yard.says(job_id) for job_id in jobs} == {("pending", "Submitted")}


def test_one_of_several_that_is_stopped_while_it_is_created_is_in_no_others_way(yard: Yard) -> None:
    first, stopped, last = (yard.submit() for _ in range(3))

    def stop() -> None:
        if yard.cluster.created == [first, stopped]:
            yard.jobs.stop(ADA, stopped)

    yard.cluster.after["submit"] = stop
    assert yard.outbox.deliver([first, stopped, last]) == []
    assert yard.says(first) == yard.says(last) == ("pending", "Submitted")
    assert yard.says(stopped) == ("stopping", "StopRequested")
    assert yard.cluster.jobs[stopped].deleting


def test_one_of_several_whose_record_is_gone_for_good_when_it_was_created_is_taken_back(yard: Yard) -> None:
    first, gone = yard.submit(), yard.submit()

    def delete_and_settle() -> None:
        if yard.cluster.created == [first, gone]:
            yard.cluster.after.clear()
            yard.jobs.delete(ADA, gone)
            wait_out_submissions(yard)
            yard.reconciler.settle(yard.store.get(gone), None, "default")

    yard.cluster.after["submit"] = delete_and_settle
    yard.outbox.deliver([first, gone])
    assert yard.store.get(gone) is None
    assert yard.cluster.jobs[gone].deleting


def test_several_of_which_nothing_could_be_written_down_are_each_tried_alone(yard: Yard) -> None:
    jobs = [yard.submit() for _ in range(3)]
    yard.bench.spy.fail("transact_write_items", client_error("InternalServerError"), times=2)
    assert yard.outbox.deliver(jobs) == jobs[:1], "its own write failed, too"
    assert yard.outbox.deliver(jobs) == []
    assert yard.cluster.created == jobs
    assert {yard.says(job_id) for job_id in jobs} == {("pending", "Submitted")}


def test_a_crash_before_several_are_written_down_leaves_each_created_once(yard: Yard) -> None:
    jobs = [yard.submit() for _ in range(3)]

    def crash_at_the_end() -> None:
        if len(yard.cluster.created) == len(jobs):
            crash()

    yard.cluster.after["submit"] = crash_at_the_end
    with pytest.raises(Crash):
        yard.outbox.deliver(jobs)
    assert {yard.says(job_id) for job_id in jobs} == {("pending", "Accepted")}
    yard.cluster.after.clear()
    assert yard.outbox.deliver(jobs) == []
    assert yard.cluster.created == jobs
    assert {yard.says(job_id) for job_id in jobs} == {("pending", "Submitted")}


def test_one_of_several_that_the_cluster_rejects_fails_and_the_others_do_not(yard: Yard) -> None:
    rejected, good = yard.submit(), yard.submit()

    def reject() -> None:
        yard.cluster.before.clear()
        raise ClusterRejected("spec: too long")

    yard.cluster.before["submit"] = reject
    assert yard.outbox.deliver([rejected, good]) == []
    assert yard.says(rejected) == ("failed", "ClusterRejected")
    assert yard.says(good) == ("pending", "Submitted")


def test_a_batch_wakes_the_sync_function_unless_it_is_awake(yard: Yard) -> None:
    job_id = yard.submit()
    yard.outbox.deliver([job_id])
    assert yard.kicks == 1
    yard.cluster.before["workloads"] = lambda: yard.outbox.deliver([job_id])
    yard.sync.run(yard.seconds(6))
    assert yard.kicks == 1


@pytest.mark.parametrize(
    "trouble", [FunctionUnavailable("throttled"), StoreUnavailable("throttled")], ids=type
)
def test_a_kick_that_fails_does_not_deliver_the_batch_again(yard: Yard, trouble: Exception) -> None:
    def fail() -> None:
        raise trouble

    job_id = yard.submit()
    assert Outbox(yard.reconciler, yard.store, fail, yard.clock).deliver([job_id]) == []
    assert yard.cluster.created == [job_id]
