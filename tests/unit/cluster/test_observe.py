"""Kubernetes' JSON, as real API servers write it, is read into what decisions need."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from chalicelib.cluster import observe
from chalicelib.domain.observed import Outcome

CREATED = "2026-01-26T10:00:00Z"
AT = datetime(2026, 1, 26, 10, 0, tzinfo=UTC)


def job(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    own = {
        "name": "j",
        "namespace": "n",
        "creationTimestamp": CREATED,
        "labels": {"trainyard.dev/job-id": "j"},
    }
    return {"metadata": own | metadata, "spec": {}, "status": status}


def pod(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    own = {"name": "j-abcde", "namespace": "n", "creationTimestamp": CREATED}
    return {"metadata": own | metadata, "spec": {"nodeName": "node1"}, "status": status}


def in_container(state: dict[str, Any]) -> dict[str, Any]:
    return {"phase": "Running", "containerStatuses": [{"name": "training", "state": state}]}


def test_a_job_that_is_just_created_has_an_empty_status() -> None:
    seen = observe.workload(job({}), [])
    assert (seen.job_id, seen.namespace) == ("j", "n")
    assert seen.outcome is None
    assert not seen.deleting


@pytest.mark.parametrize("kind", list(Outcome))
def test_the_final_condition_is_the_outcome(kind: Outcome) -> None:
    condition = {"type": kind, "status": "True", "reason": "R", "message": "M", "lastTransitionTime": CREATED}
    seen = observe.workload(job({"conditions": [condition]}), [])
    assert (seen.outcome, seen.outcome_reason, seen.outcome_message) == (kind, "R", "M")
    assert seen.finished_at == AT


def test_a_condition_that_is_not_true_is_no_outcome() -> None:
    suspended = {"type": "Suspended", "status": "True"}
    not_yet = {"type": "Complete", "status": "False"}
    assert observe.workload(job({"conditions": [suspended, not_yet]}), []).outcome is None


def test_pods_come_oldest_first() -> None:
    young = pod({}, name="young", creationTimestamp="2026-01-26T10:05:00Z")
    old = pod({}, name="old")
    assert [seen.name for seen in observe.workload(job({}), map(observe.pod, [young, old])).pods] == [
        "old",
        "young",
    ]


def test_the_schedulers_words_are_kept() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    assert observe.pod(pod({"phase": "Pending", "conditions": [condition]})).unschedulable == "0/1 nodes"


def test_a_waiting_container_says_why() -> None:
    seen = observe.pod(pod(in_container({"waiting": {"reason": "ImagePullBackOff", "message": "m"}})))
    assert (seen.waiting_reason, seen.waiting_message) == ("ImagePullBackOff", "m")


def test_a_terminated_container_has_its_times_exit_code_and_message() -> None:
    state = {
        "terminated": {
            "exitCode": 137,
            "reason": "OOMKilled",
            "message": "bye",
            "startedAt": CREATED,
            "finishedAt": CREATED,
        }
    }
    seen = observe.pod(pod(in_container(state)))
    assert (seen.exit_code, seen.terminated_reason, seen.termination_message) == (137, "OOMKilled", "bye")
    assert seen.started_at == seen.finished_at == AT


def test_a_containers_restarts_are_counted() -> None:
    again = in_container({"running": {"startedAt": CREATED}})
    again["containerStatuses"][0]["restartCount"] = 4
    assert observe.pod(pod(again)).restarts == 4
    assert observe.pod(pod({})).restarts == 0


@pytest.mark.parametrize(
    ("metadata", "ends_by"),
    [
        pytest.param({}, None, id="nobody deletes it"),
        pytest.param(
            {"deletionTimestamp": CREATED, "deletionGracePeriodSeconds": 30}, AT, id="its node is to"
        ),
        pytest.param({"deletionTimestamp": CREATED, "deletionGracePeriodSeconds": 0}, None, id="by force"),
    ],
)
def test_a_pod_that_is_being_deleted_says_when_its_node_is_to_have_ended_it(
    metadata: dict[str, Any], ends_by: datetime | None
) -> None:
    assert observe.pod(pod({}, **metadata)).ends_by == ends_by


def test_other_containers_do_not_count() -> None:
    sidecar = {"name": "istio-proxy", "state": {"terminated": {"exitCode": 1}}}
    assert observe.pod(pod({"containerStatuses": [sidecar]})).exit_code is None


def unpacking(state: dict[str, Any], **status: Any) -> dict[str, Any]:
    training = {"name": "training", "state": {"waiting": {"reason": "PodInitializing"}}}
    bundle = {"name": "bundle", "state": state}
    return {
        "phase": "Pending",
        "initContainerStatuses": [bundle],
        "containerStatuses": [training],
        **status,
    }


@pytest.mark.parametrize(
    ("terminated", "failure"),
    [
        pytest.param({"exitCode": 0, "reason": "Completed"}, None, id="it went well"),
        pytest.param({"exitCode": 0, "message": "unpacked"}, None, id="and said so"),
        pytest.param(
            {"exitCode": 3, "reason": "Error", "message": "a.zip is refused"},
            "a.zip is refused",
            id="refused",
        ),
        pytest.param(
            {"exitCode": 137, "reason": "OOMKilled"},
            "it ended with exit code 137 (OOMKilled)",
            id="out of memory",
        ),
        pytest.param(
            {"exitCode": 1, "message": ""}, "it ended with exit code 1 (None)", id="it said nothing"
        ),
    ],
)
def test_an_unpacking_container_that_failed_says_why(terminated: dict[str, Any], failure: str | None) -> None:
    seen = observe.pod(pod(unpacking({"terminated": terminated}, phase="Failed")))
    assert (seen.bundle_failure, seen.exit_code, seen.started_at) == (failure, None, None)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        pytest.param(
            {"waiting": {"reason": "ImagePullBackOff"}}, "ImagePullBackOff", id="its image is not there"
        ),
        pytest.param({"running": {"startedAt": CREATED}}, "PodInitializing", id="it unpacks"),
        pytest.param({"terminated": {"exitCode": 0}}, "PodInitializing", id="it has unpacked"),
    ],
)
def test_a_pod_waits_for_what_its_unpacking_container_waits_for(state: dict[str, Any], reason: str) -> None:
    assert observe.pod(pod(unpacking(state))).waiting_reason == reason


def test_the_rank_is_the_completion_index() -> None:
    assert observe.pod(pod({}, annotations={"batch.kubernetes.io/job-completion-index": "3"})).rank == 3
    assert observe.pod(pod({})).rank == 0


def test_nulls_are_absent_values() -> None:
    seen = observe.pod(pod({"conditions": None, "containerStatuses": None, "phase": None}, annotations=None))
    assert (seen.phase, seen.exit_code, seen.rank) == ("Pending", None, 0)


@pytest.mark.parametrize(
    ("written", "count", "at"),
    [
        ({"lastTimestamp": "2026-01-26T10:01:00Z", "count": 4, "eventTime": None}, 4, 1),
        ({"lastTimestamp": None, "eventTime": "2026-01-26T10:02:00.123456Z"}, 1, 2),
        ({"series": {"count": 7, "lastObservedTime": "2026-01-26T10:03:00Z"}, "eventTime": CREATED}, 7, 3),
        ({}, 1, 0),
    ],
    ids=["core events", "events.k8s.io", "a series", "neither"],
)
def test_events_of_old_and_new_writers_have_a_time_and_a_count(
    written: dict[str, Any], count: int, at: int
) -> None:
    value = {
        "metadata": {"name": "p.x", "creationTimestamp": CREATED},
        "involvedObject": {"kind": "Pod", "name": "p"},
    }
    event = observe.event(value | written)
    assert (event.count, event.timestamp.minute, event.object, event.type) == (count, at, "Pod/p", "Normal")


def an_event(name: str, **written: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "n", "creationTimestamp": CREATED}
    return {"metadata": metadata, "involvedObject": {"kind": "Pod", "name": "p"}, **written}


@pytest.mark.parametrize(
    ("name", "microseconds"),
    [
        pytest.param("p.188e3f9214cdf280", 250_000, id="a name that ends in its nanoseconds"),
        pytest.param("p.188e3f9241820a00", 0, id="in those of another second"),
        pytest.param("p.188e3f9214cdf2800", 0, id="in no moment at all"),
        pytest.param("p.by-hand", 0, id="in something else"),
        pytest.param("p", 0, id="in nothing"),
    ],
)
def test_an_events_name_tells_when_it_first_happened_within_its_second(name: str, microseconds: int) -> None:
    event = observe.event(an_event(name, firstTimestamp="2026-01-26T10:00:00Z"))
    assert event.first_timestamp == AT.replace(microsecond=microseconds)


def test_an_event_that_is_created_again_is_the_same_one() -> None:
    first = an_event("p.188e", firstTimestamp=CREATED, lastTimestamp=CREATED, count=1)
    again = an_event("p.188e", firstTimestamp=CREATED, lastTimestamp="2026-01-26T12:00:00Z", count=2)
    one, other = observe.event(first), observe.event(again)
    assert (one.key, one.first_timestamp) == (other.key, other.first_timestamp)


def test_an_events_words_are_cut_short_and_fit_for_utf8() -> None:
    event = observe.event(an_event("p", message="\ud800" + "x" * 5000, reason="r" * 500, type=None))
    assert (len(event.message), event.message[:2]) == (1024, "?x")
    assert (len(event.reason), event.type) == (128, "Normal")
