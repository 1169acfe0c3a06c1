"""What a Job needs next, as a table of situations."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from infra.local.kubernetes.jobdecide import INDEX, decide, failure_action, format_indexes, parse_indexes
from infra.local.kubernetes.registry import TRACKING
from infra.local.kubernetes.values import parse_time, stamp

Obj = dict[str, Any]
NOW = parse_time("2026-01-01T12:00:00Z")


def job(status: Obj | None = None, **spec: Any) -> Obj:
    base = {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "template": {"spec": {"restartPolicy": "Never"}},
    }
    return {
        "metadata": {"name": "j", "namespace": "n", "uid": "u"},
        "spec": {**base, **spec},
        "status": status or {},
    }


def pod(
    name: str,
    phase: str,
    *,
    ago: float = 100,
    index: int | None = None,
    counted: bool = False,
    code: int = 1,
    **metadata: Any,
) -> Obj:
    ended = {"terminated": {"exitCode": code, "finishedAt": stamp(NOW - timedelta(seconds=ago))}}
    made: Obj = {
        "metadata": {
            "name": name,
            "namespace": "n",
            "creationTimestamp": stamp(NOW),
            "finalizers": [] if counted else [TRACKING],
            "annotations": {} if index is None else {INDEX: str(index)},
            **metadata,
        },
        "status": {"phase": phase},
    }
    if phase in ("Succeeded", "Failed"):
        made["status"]["containerStatuses"] = [{"name": "main", "state": ended}]
    return made


def test_a_new_job_gets_its_pods() -> None:
    plan = decide(job(parallelism=3, completions=5), [], NOW, 10)
    assert plan.create == [None] * 3
    assert plan.status["startTime"] == stamp(NOW)


def test_no_more_pods_than_completions_are_left() -> None:
    plan = decide(job({"succeeded": 4}, parallelism=3, completions=5), [], NOW, 10)
    assert len(plan.create) == 1


def test_an_ended_pod_is_counted_once() -> None:
    first = decide(job(), [pod("a", "Succeeded")], NOW, 10)
    assert (first.status["succeeded"], first.release) == (1, ["a"])
    again = decide(job({"succeeded": 1}, completions=2), [pod("a", "Succeeded", counted=True)], NOW, 10)
    assert (again.status["succeeded"], again.release) == (1, [])


@pytest.mark.parametrize(("failures", "ago", "waits"), [(1, 5, 5), (2, 5, 15), (3, 5, 35), (1, 11, None)])
def test_retries_wait_longer_each_time(failures: int, ago: float, waits: float | None) -> None:
    pods = [pod(f"p{n}", "Failed", ago=ago + n, counted=True) for n in range(failures)]
    plan = decide(job({"failed": failures}), pods, NOW, 10)
    assert plan.again == waits
    assert plan.create == ([None] if waits is None else [])


def test_past_the_limit_the_job_fails_after_its_pods_have_gone() -> None:
    pods = [pod("a", "Failed"), pod("b", "Running")]
    first = decide(job(backoffLimit=0, parallelism=2, completions=2), pods, NOW, 10)
    assert first.delete == ["b"]
    assert [c["type"] for c in first.status["conditions"]] == ["FailureTarget"]
    after = decide(job(first.status, backoffLimit=0), [pod("a", "Failed", counted=True)], NOW, 10)
    assert [c["type"] for c in after.status["conditions"]] == ["FailureTarget", "Failed"]
    assert after.status["conditions"][1]["reason"] == "BackoffLimitExceeded"


def test_indexes_that_failed_are_tried_again_and_done_ones_are_not() -> None:
    pods = [pod("a", "Succeeded", index=0), pod("b", "Failed", index=1), pod("c", "Running", index=2)]
    plan = decide(job(completionMode="Indexed", completions=4, parallelism=3), pods, NOW, 0)
    assert plan.create == [1, 3]
    assert plan.status["completedIndexes"] == "0"


def test_a_pod_that_is_leaving_is_replaced_at_once_or_when_it_has_failed() -> None:
    leaving = pod("a", "Running", deletionTimestamp=stamp(NOW), deletionGracePeriodSeconds=30)
    assert decide(job(), [leaving], NOW, 10).create == [None]
    assert decide(job(podReplacementPolicy="Failed"), [leaving], NOW, 10).create == []


def test_a_deadline_is_waited_for_and_then_kept() -> None:
    started = {"startTime": stamp(NOW - timedelta(seconds=50))}
    assert decide(job(started, activeDeadlineSeconds=60), [pod("a", "Running")], NOW, 10).again == 10
    plan = decide(job(started, activeDeadlineSeconds=50), [pod("a", "Running")], NOW, 10)
    assert plan.delete == ["a"] and plan.status["conditions"][0]["reason"] == "DeadlineExceeded"


def test_a_finished_job_is_removed_when_its_time_is_over() -> None:
    done = {
        "conditions": [
            {"type": "Complete", "status": "True", "lastTransitionTime": stamp(NOW - timedelta(seconds=60))}
        ]
    }
    assert decide(job(done, ttlSecondsAfterFinished=100), [], NOW, 10).again == 40
    assert decide(job(done, ttlSecondsAfterFinished=60), [], NOW, 10).remove


def test_a_condition_has_the_time_at_which_it_was_decided() -> None:
    status = decide(job(), [pod("a", "Succeeded")], NOW, 10).status
    assert {c["lastTransitionTime"] for c in status["conditions"]} == {stamp(NOW)}


@pytest.mark.parametrize(
    ("rule", "code", "action"),
    [
        ({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}, 42, "FailJob"),
        ({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}, 1, "Count"),
        ({"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [42]}}, 1, "Ignore"),
        (
            {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [1], "containerName": "side"}},
            1,
            "Count",
        ),
        ({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}, 1, "Count"),
    ],
)
def test_the_first_rule_that_fits_decides(rule: Obj, code: int, action: str) -> None:
    assert failure_action({"rules": [rule]}, pod("a", "Failed", code=code))[0] == action


@pytest.mark.parametrize(
    ("indexes", "text"), [(set(), ""), ({0}, "0"), ({0, 1}, "0,1"), ({0, 1, 2, 5}, "0-2,5")]
)
def test_indexes_are_written_and_read_back(indexes: set[int], text: str) -> None:
    assert format_indexes(indexes) == text
    assert parse_indexes(text) == indexes
