"""What is remembered of a job's pods while they come and go."""

from __future__ import annotations

import pytest

from chalicelib.domain.decide import Nothing, Save, decide
from chalicelib.domain.job import Job
from chalicelib.domain.observed import Outcome, Pod, Workload
from chalicelib.domain.pods import PodRecord
from tests.builders import NOW, ended_pod, job, later, pod, running_pod, workload
from tests.unit.domain.test_decide import COMPLETE, LONG_AFTER, SUBMITTED, S, runs, saved, sent, stopping


def test_a_pod_that_is_seen_is_remembered_with_all_that_is_shown_of_it() -> None:
    seen = ended_pod(137, name="a", rank=3, node="n1", restarts=2, terminated_reason="OOMKilled")
    assert saved(sent, workload(seen)).pods == (
        PodRecord(
            name="a",
            rank=3,
            phase="Failed",
            created_at=NOW,
            node="n1",
            started_at=later(3),
            finished_at=later(9),
            restarts=2,
            exit_code=137,
            reason="OOMKilled",
        ),
    )


RUNS = running_pod(name="a")
ENDED = ended_pod(0, name="a")


@pytest.mark.parametrize(
    ("record", "first", "then", "phase", "exit_code"),
    [
        pytest.param(sent, RUNS, workload(running_pod(name="b")), "Gone", None, id="deleted as it ran"),
        pytest.param(
            sent,
            ended_pod(1, name="a"),
            workload(running_pod(name="b")),
            "Failed",
            1,
            id="deleted, ended",
        ),
        pytest.param(sent, RUNS, workload(ENDED, **COMPLETE), "Succeeded", 0, id="ended with its job"),
        pytest.param(sent, RUNS, None, "Gone", None, id="deleted with its Job"),
        pytest.param(stopping, RUNS, workload(RUNS, deleting=True), "Running", None, id="being stopped"),
        pytest.param(stopping, RUNS, workload(ENDED, deleting=True), "Succeeded", 0, id="ended by the stop"),
        pytest.param(stopping, ENDED, None, "Succeeded", 0, id="stopped, and seen to end"),
        pytest.param(stopping, RUNS, None, "Gone", None, id="stopped, and not seen to end"),
    ],
)
def test_what_was_last_known_of_a_pod_is_kept(
    record: Job, first: Pod, then: Workload | None, phase: str, exit_code: int | None
) -> None:
    known = settle(record, workload(first, deleting=record.status == S))
    after = settle(known, then)
    (a,) = [pod for pod in after.pods if pod.name == "a"]
    assert (a.phase, a.exit_code) == (phase, exit_code)


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (pod(phase="Failed", reason="Evicted"), "Evicted"),
        (pod(waiting_reason="ImagePullBackOff"), "ImagePullBackOff"),
        (pod(unschedulable="0/1 nodes are available"), "Unschedulable"),
        (ended_pod(1), "Error"),
        (running_pod(), None),
    ],
    ids=["its own", "its container waits", "no node", "its container ended", "none"],
)
def test_a_pods_reason_is_the_most_telling_one(pod: Pod, reason: str | None) -> None:
    assert saved(sent, workload(pod)).pods[0].reason == reason


def test_a_job_that_is_over_still_learns_how_its_last_pods_ended() -> None:
    late = {"outcome": Outcome.FAILED, "outcome_reason": "DeadlineExceeded"}
    failed = saved(runs, workload(running_pod(), **late))
    before = (failed.status, failed.reason, failed.finished_at)
    after = saved(failed, workload(ended_pod(137), **late))
    assert (after.pods[0].phase, after.pods[0].exit_code) == ("Failed", 137)
    assert (after.status, after.reason, after.finished_at) == before
    assert decide(after, workload(ended_pod(137), **late), LONG_AFTER).action == Nothing()
    assert decide(after, workload(**late), LONG_AFTER).action == Nothing()


def test_the_newest_pods_are_kept_and_deciding_again_changes_nothing() -> None:
    pods = [ended_pod(1, name=f"p{number:03}", created_at=later(number // 2)) for number in range(600)]
    crowd = workload(*pods, running_pod(name="last", created_at=later(700)))
    known = saved(sent, crowd)
    assert known.pod_names == (*(f"p{number:03}" for number in range(101, 600)), "last")
    assert decide(known, crowd, LONG_AFTER).action == Nothing()


def test_a_pod_of_which_only_the_name_was_kept_is_filled_in_or_gone() -> None:
    old = job(pods=(PodRecord(name="a"), PodRecord(name="b")), **SUBMITTED)
    after = saved(old, workload(running_pod(name="b")))
    assert [(pod.name, pod.phase) for pod in after.pods] == [("a", "Gone"), ("b", "Running")]


def settle(record: Job, seen: Workload | None) -> Job:
    """The record once there is nothing more to save."""
    for _ in range(3):
        action = decide(record, seen, LONG_AFTER).action
        if isinstance(action, Save):
            record = action.job
    return record
