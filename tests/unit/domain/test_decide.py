"""What is decided about a job, as tables: its record, what was seen of it, and what follows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.decide import (
    SUBMISSION_LASTS,
    DeleteWorkload,
    ForceDelete,
    Nothing,
    Remove,
    Save,
    Submit,
    decide,
)
from chalicelib.domain.job import Job
from chalicelib.domain.observed import Outcome, Workload
from chalicelib.domain.pods import remembered
from chalicelib.domain.repair import IN_TIME, STUCK, Repair
from chalicelib.domain.states import TERMINAL, Status
from tests.builders import JOB_ID, NAMESPACE, NOW, ended_pod, job, later, pod, running_pod, workload

P, R, S = Status.PENDING, Status.RUNNING, Status.STOPPING
SUBMITTED: dict[str, Any] = {"submitted_at": NOW}
LONG_AFTER = NOW + SUBMISSION_LASTS
COMPLETE = {"outcome": Outcome.COMPLETE, "finished_at": later(9)}
FAILED = {"outcome": Outcome.FAILED, "outcome_reason": "BackoffLimitExceeded", "finished_at": later(9)}
DELETE = DeleteWorkload(JOB_ID, NAMESPACE)

new = job()
sent = job(**SUBMITTED)
runs = job(R, started_at=later(3), **SUBMITTED)
stopping = job(S, **SUBMITTED)
stopping_unsent = job(S)
WAITS = f"waiting for pod {JOB_ID}-abcde on node node1 to end"
told = job(S, reason="StopRequested", message=WAITS, pods=remembered((), [running_pod()]), **SUBMITTED)
stopped = job(Status.STOPPED, **SUBMITTED)
succeeded = job(Status.SUCCEEDED, **SUBMITTED)
tombstone = job(Status.SUCCEEDED, deleted_at=NOW, **SUBMITTED)


@pytest.mark.parametrize(
    ("record", "seen", "action"),
    [
        pytest.param(None, None, Nothing(), id="no record, no Job"),
        pytest.param(None, workload(), DELETE, id="a Job without a record is deleted"),
        pytest.param(None, workload(deleting=True), Nothing(), id="a Job without a record is being deleted"),
        pytest.param(new, None, Submit(new), id="a new job is submitted"),
        pytest.param(
            new, workload(), Submit(new), id="a Job that nobody noted is noted by submitting it again"
        ),
        pytest.param(stopping, workload(running_pod()), DELETE, id="a stop deletes the Job"),
        pytest.param(
            told, workload(running_pod(), deleting=True), Nothing(), id="a stop waits for the pods to end"
        ),
        pytest.param(stopped, None, Nothing(), id="stopped and gone"),
        pytest.param(stopped, workload(running_pod()), DELETE, id="stopped, but its Job goes on"),
        pytest.param(stopped, workload(ended_pod(0), **COMPLETE), DELETE, id="stopped, but its Job finished"),
        pytest.param(
            succeeded, workload(ended_pod(0), **COMPLETE), Nothing(), id="a finished Job is left to TTL"
        ),
        pytest.param(succeeded, workload(running_pod()), DELETE, id="succeeded, but its Job goes on"),
        pytest.param(succeeded, None, Nothing(), id="succeeded, and TTL removed the Job"),
        pytest.param(
            tombstone, workload(ended_pod(0), **COMPLETE), DELETE, id="a deleted job's Job is deleted"
        ),
        pytest.param(
            tombstone, workload(deleting=True), Nothing(), id="a deleted job's Job is being deleted"
        ),
        pytest.param(tombstone, None, Remove(tombstone), id="a deleted job is removed once its Job is gone"),
        pytest.param(runs, workload(deleting=True), Nothing(), id="somebody else deletes the Job"),
    ],
)
def test_the_action_fits_what_was_seen(record: Job | None, seen: Workload | None, action: Any) -> None:
    decision = decide(record, seen, LONG_AFTER)
    assert decision.action == action
    assert decision.why


@pytest.mark.parametrize("unsent", [stopping_unsent, job(S, deleted_at=NOW)], ids=["stopping", "deleted"])
def test_an_absent_job_is_believed_only_when_no_submission_can_be_under_way(unsent: Job) -> None:
    assert decide(unsent, None, later(1)).action == Nothing()
    assert decide(unsent, None, LONG_AFTER).action != Nothing()
    assert decide(unsent, workload(), later(1)).action == DELETE


IN_A_MOMENT = NOW + IN_TIME - timedelta(microseconds=1)
TOO_LATE = NOW + IN_TIME
asked_to_stop = job(S, reason="StopRequested", **SUBMITTED)
asked_to_delete = job(S, reason="DeleteRequested", deleted_at=NOW, **SUBMITTED)


@pytest.mark.parametrize(
    ("record", "seen", "now", "repair"),
    [
        pytest.param(new, None, IN_A_MOMENT, None, id="submitted in time"),
        pytest.param(new, None, TOO_LATE, Repair.LATE_SUBMISSION, id="submitted late"),
        pytest.param(
            job(reason="ClusterUnavailable"), None, TOO_LATE, None, id="submitted when the cluster was back"
        ),
        pytest.param(
            job(reason="NamespaceMissing"), None, TOO_LATE, None, id="submitted when its namespace was there"
        ),
        pytest.param(asked_to_stop, workload(running_pod()), IN_A_MOMENT, None, id="stopped in time"),
        pytest.param(
            asked_to_stop, workload(running_pod()), TOO_LATE, Repair.LATE_STOP, id="stopped too late"
        ),
        pytest.param(
            job(S, reason="ClusterUnavailable", **SUBMITTED),
            workload(running_pod()),
            TOO_LATE,
            None,
            id="stopped when the cluster was back",
        ),
        pytest.param(asked_to_stop, workload(deleting=True), TOO_LATE, None, id="a stop takes its time"),
        pytest.param(asked_to_stop, None, TOO_LATE, None, id="a stop that took its time is over"),
        pytest.param(asked_to_delete, workload(running_pod()), IN_A_MOMENT, None, id="deleted in time"),
        pytest.param(
            asked_to_delete, workload(running_pod()), TOO_LATE, Repair.LATE_DELETION, id="deleted too late"
        ),
        pytest.param(asked_to_delete, workload(deleting=True), TOO_LATE, None, id="a deletion takes a while"),
        pytest.param(asked_to_delete, None, TOO_LATE, None, id="a deletion that took a while is over"),
        pytest.param(runs, None, NOW, Repair.JOB_DELETED, id="deleted by hand"),
        pytest.param(runs, workload(deleting=True), TOO_LATE, None, id="being deleted by hand"),
        pytest.param(
            None, workload(running_pod()), NOW, Repair.JOB_WITHOUT_RECORD, id="a Job without a record"
        ),
        pytest.param(None, workload(deleting=True), TOO_LATE, None, id="a stray is being deleted"),
        pytest.param(stopped, workload(running_pod()), NOW, Repair.JOB_AFTER_END, id="a Job after a stop"),
        pytest.param(succeeded, workload(running_pod()), NOW, Repair.JOB_AFTER_END, id="a Job after its end"),
        pytest.param(succeeded, workload(ended_pod(0), **COMPLETE), TOO_LATE, None, id="a finished Job"),
        pytest.param(succeeded, None, TOO_LATE, None, id="a finished Job that TTL removed"),
        pytest.param(runs, workload(ended_pod(3), **FAILED), TOO_LATE, None, id="a job that failed"),
        pytest.param(sent, workload(running_pod()), TOO_LATE, None, id="a job that runs"),
    ],
)
def test_drift_is_told_from_what_is_carried_out_in_time(
    record: Job | None, seen: Workload | None, now: datetime, repair: Repair | None
) -> None:
    assert decide(record, seen, now).repair == repair


overdue = running_pod(ends_by=NOW)
obedient = running_pod(name="b", ends_by=later(1))


@pytest.mark.parametrize(
    ("record", "waits"),
    [
        pytest.param(told, True, id="stopping"),
        pytest.param(asked_to_delete, False, id="deleted"),
        pytest.param(None, False, id="no record"),
        pytest.param(stopped, False, id="stopped"),
    ],
)
def test_pods_that_do_not_end_are_given_up_some_minutes_after_their_grace(
    record: Job | None, waits: bool
) -> None:
    seen = workload(overdue, obedient, deleting=True)
    assert not isinstance(decide(record, seen, NOW + STUCK - timedelta(seconds=1)).action, ForceDelete)
    decision = decide(record, seen, NOW + STUCK)
    assert isinstance(decision.action, ForceDelete)
    assert (decision.action.namespace, decision.action.pods) == (NAMESPACE, (overdue.name,))
    assert decision.repair == Repair.STUCK_PODS
    assert "node1" in decision.why
    assert (decision.action.then is not None) == waits


def test_pods_of_a_job_that_somebody_else_deletes_are_left_to_him() -> None:
    assert decide(runs, workload(overdue, deleting=True), NOW + STUCK).action == Nothing()


def test_a_job_whose_pods_were_given_up_says_so_to_its_end() -> None:
    action = decide(told, workload(overdue, deleting=True), NOW + STUCK).action
    assert isinstance(action, ForceDelete)
    assert action.then
    ending = action.then.job
    assert (ending.status, ending.reason) == (S, "PodsStuck")
    assert decide(ending, workload(deleting=True), NOW + STUCK).action == Nothing()
    over = saved(ending, None)
    assert (over.status, over.reason) == ("stopped", "Stopped")
    assert "deleted by force" in over.message


BACK_OFF = pod(waiting_reason="ImagePullBackOff", waiting_message='Back-off pulling image "nope"')
UNSCHEDULABLE = pod(unschedulable="0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
NO_CODE = pod(phase="Failed", bundle_failure="code.zip is refused: it climbs\n")
BAD_CONFIG = pod(waiting_reason="CreateContainerConfigError", waiting_message='secret "s" not found')


@pytest.mark.parametrize(
    ("record", "seen", "status", "reason", "message"),
    [
        pytest.param(sent, workload(), P, "Submitted", "handed to the cluster", id="no pods yet"),
        pytest.param(runs, workload(ended_pod(0)), R, "Running", "its pods have ended", id="all pods ended"),
        pytest.param(sent, workload(suspended=True), P, "Queued", "admit", id="its queue holds it back"),
        pytest.param(
            sent, workload(warning="exceeded quota"), P, "PodCreationFailed", "exceeded quota", id="quota"
        ),
        pytest.param(sent, workload(pod()), P, "Starting", "waiting for a node", id="not scheduled yet"),
        pytest.param(sent, workload(pod(node="n1")), P, "Starting", "node n1", id="its container starts"),
        pytest.param(
            sent, workload(UNSCHEDULABLE), P, "Unschedulable", "1 Insufficient nvidia.com/gpu", id="full"
        ),
        pytest.param(sent, workload(BACK_OFF), P, "ImagePullBackOff", 'image "nope"', id="a wrong image"),
        pytest.param(sent, workload(BAD_CONFIG), P, "ContainerStartFailed", 'secret "s"', id="cannot start"),
        pytest.param(sent, workload(running_pod()), R, "Running", "node1", id="it runs"),
        pytest.param(
            runs, workload(ended_pod(1)), R, "Retrying", "exit code 1", id="it failed and is retried"
        ),
        pytest.param(
            sent, workload(NO_CODE), P, "Retrying", "unpacked: code.zip is refused", id="no code, and retried"
        ),
        pytest.param(
            sent,
            workload(NO_CODE, **FAILED),
            "failed",
            "BundleFailed",
            "its code could not be unpacked: code.zip is refused: it climbs",
            id="its code could not be unpacked",
        ),
        pytest.param(
            sent, workload(ended_pod(0), **COMPLETE), "succeeded", "Completed", "0", id="unseen success"
        ),
        pytest.param(
            runs, workload(ended_pod(0), **COMPLETE), "succeeded", "Completed", "0", id="it succeeded"
        ),
        pytest.param(
            runs, workload(ended_pod(3), **FAILED), "failed", "ExitCode", "exit code 3", id="exit code"
        ),
        pytest.param(
            runs, workload(ended_pod(139), **FAILED), "failed", "ExitCode", "SIGSEGV", id="a signal"
        ),
        pytest.param(
            runs,
            workload(ended_pod(137, terminated_reason="OOMKilled"), **FAILED),
            "failed",
            "OOMKilled",
            "memory",
            id="out of memory",
        ),
        pytest.param(
            runs,
            workload(ended_pod(128, terminated_reason="StartError", termination_message="no x"), **FAILED),
            "failed",
            "ContainerStartFailed",
            "no x",
            id="no such command",
        ),
        pytest.param(
            runs,
            workload(pod(phase="Failed", reason="Evicted", message="low on memory"), **FAILED),
            "failed",
            "Evicted",
            "low on memory",
            id="evicted",
        ),
        pytest.param(
            runs,
            workload(ended_pod(143, disrupted="node is drained"), **FAILED),
            "failed",
            "NodeLost",
            "node is drained",
            id="its node went away",
        ),
        pytest.param(
            runs,
            workload(**FAILED | {"outcome_reason": "DeadlineExceeded"}),
            "failed",
            "DeadlineExceeded",
            "max_runtime_seconds",
            id="too long",
        ),
        pytest.param(
            runs, None, "failed", "JobDeleted", "not through Trainyard", id="deleted behind our back"
        ),
        pytest.param(
            runs,
            workload(pod(phase="Failed", reason="UnexpectedAdmissionError", message="no GPU left"), **FAILED),
            "failed",
            "PodRejected",
            "no GPU left",
            id="its node refuses the pod",
        ),
        pytest.param(
            runs,
            workload(**FAILED, outcome_message="Job has reached the specified backoff limit"),
            "failed",
            "PodsGone",
            "backoff limit",
            id="nothing is left to tell why it failed",
        ),
        pytest.param(
            stopping,
            workload(running_pod(), deleting=True),
            S,
            "StopRequested",
            "on node node1",
            id="a stop takes time",
        ),
        pytest.param(stopping, None, "stopped", "Stopped", "on request", id="a stop is done"),
    ],
)
def test_the_record_says_where_the_job_is_and_why(
    record: Job, seen: Workload | None, status: str, reason: str, message: str
) -> None:
    after = saved(record, seen)
    assert (after.status, after.reason) == (status, reason)
    assert message in after.message
    assert after.version == record.version + 1
    assert after.is_terminal == (after.finished_at is not None)


@pytest.mark.parametrize(
    "seen",
    [
        workload(),
        workload(UNSCHEDULABLE),
        workload(running_pod()),
        workload(ended_pod(0), **COMPLETE),
        workload(ended_pod(3), **FAILED),
        None,
    ],
    ids=["no pods", "unschedulable", "running", "complete", "failed", "gone"],
)
@pytest.mark.parametrize("record", [sent, runs, stopping], ids=["pending", "running", "stopping"])
def test_deciding_again_after_a_save_ends_in_nothing_to_save(record: Job, seen: Workload | None) -> None:
    after = record
    for _ in range(3):
        action = decide(after, seen, LONG_AFTER).action
        if not isinstance(action, Save):
            break
        after = action.job
    assert not isinstance(decide(after, seen, LONG_AFTER).action, Save)


@pytest.mark.parametrize("status", sorted(TERMINAL))
@pytest.mark.parametrize("seen", [None, workload(running_pod()), workload(ended_pod(1), **FAILED)])
def test_terminal_records_never_change(status: Status, seen: Workload | None) -> None:
    assert not isinstance(decide(job(status, **SUBMITTED), seen, LONG_AFTER).action, Save)


def test_a_stopped_job_keeps_the_exit_code_that_was_seen_while_it_ended() -> None:
    ending = saved(stopping, workload(ended_pod(143), deleting=True))
    assert (ending.status, ending.exit_code) == (S, 143)
    assert "signal 15" in saved(ending, None).message


def test_model_and_metrics_come_from_the_termination_message() -> None:
    said = '{"model_id": 456, "metrics": {"accuracy": 0.97, "bad": NaN, "big": 1e999}}'
    after = saved(runs, workload(ended_pod(0, termination_message=said), **COMPLETE))
    assert after.model_id == 456
    assert after.metrics == {"accuracy": 0.97, "bad": None, "big": None}


@pytest.mark.parametrize(
    "said",
    [
        "",
        "done",
        "[1]",
        '{"model_id": "x"}',
        '{"model_id": true}',
        '{"metrics": 3}',
        "[" * 4000,
        '{"model_id": -1}',
    ],
)
def test_a_termination_message_of_another_kind_names_nothing(said: str) -> None:
    after = saved(runs, workload(ended_pod(0, termination_message=said), **COMPLETE))
    assert after.model_id is None
    assert after.metrics is None


def test_the_start_is_that_of_the_first_container() -> None:
    pods = [ended_pod(1, started_at=later(3)), running_pod(name="b", started_at=later(20))]
    assert saved(sent, workload(*pods)).started_at == later(3)


def saved(record: Job, seen: Workload | None) -> Job:
    action = decide(record, seen, LONG_AFTER).action
    assert isinstance(action, Save)
    assert action.was == record
    return action.job
