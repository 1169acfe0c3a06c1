"""Jobs as https://kubernetes.io/docs/concepts/workloads/controllers/job/ describes them."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from kubernetes import client

from tests.functional.kubernetes.clusters import Space, wait_for

POLITE = "trap 'exit 7' TERM; echo up; while true; do sleep 0.1; done"


def test_a_job_runs_to_completion_and_leaves_log_counters_and_events(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/controllers/job/#running-an-example-job"""
    space.run("hello", "sh", "-c", "echo out; echo err >&2")
    assert space.ended("hello").type == "Complete"
    status = space.job("hello").status
    assert (status.succeeded, status.failed, status.active) == (1, None, None)
    assert status.start_time and status.completion_time
    pod = space.pod("hello")
    assert sorted(space.log(pod).split()) == ["err", "out"]
    owner = pod.metadata.owner_references[0]
    assert (owner.kind, owner.name, owner.controller) == ("Job", "hello", True)
    for reason in ("SuccessfulCreate", "Completed", "Scheduled", "Pulled", "Created", "Started"):
        wait_for(partial(space.events, reason), what=reason)


def test_pods_are_named_and_labelled_after_their_job(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-template"""
    template = {"metadata": {"labels": {"tier": "batch"}, "annotations": {"note": "kept"}}}
    container = {"name": "main", "image": space.cluster.image, "command": ["true"]}
    spec = {"template": {**template, "spec": {"restartPolicy": "Never", "containers": [container]}}}
    space.run("named", spec=spec)
    pod = space.pod("named")
    labels = pod.metadata.labels
    assert (labels["job-name"], labels["tier"]) == ("named", "batch")
    assert labels["controller-uid"] == space.job("named").metadata.uid
    assert pod.metadata.annotations["note"] == "kept"
    assert pod.metadata.name.startswith("named-") and pod.metadata.generate_name == "named-"


def test_failures_are_retried_up_to_the_limit(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-backoff-failure-policy"""
    space.run("fails", "sh", "-c", "exit 3", spec={"backoffLimit": 1})
    assert space.ended("fails", 90).reason == "BackoffLimitExceeded"
    assert space.job("fails").status.failed == 2
    assert [space.exit(p).exit_code for p in space.pods("fails")] == [3, 3]
    assert wait_for(lambda: space.events("BackoffLimitExceeded"))


def test_an_indexed_job_gives_each_pod_its_index(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode"""
    space.cluster.needs(22, "an Indexed Job")
    script = "echo $JOB_COMPLETION_INDEX $(hostname)"
    spec = {"completionMode": "Indexed", "completions": 3, "parallelism": 3}
    space.run("ranks", "sh", "-c", script, spec=spec)
    assert space.ended("ranks").type == "Complete"
    assert space.job("ranks").status.completed_indexes == "0-2"
    logs = sorted(space.log(p).strip() for p in space.pods("ranks"))
    assert logs == ["0 ranks-0", "1 ranks-1", "2 ranks-2"]


def test_parallelism_bounds_how_many_run_at_once(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/controllers/job/#controlling-parallelism"""
    space.run("many", "sleep", "0.3", spec={"completions": 4, "parallelism": 2})
    seen: set[int] = set()

    def over() -> bool:
        status = space.job("many").status
        seen.add(status.active or 0)
        return bool(status.succeeded == 4)

    wait_for(over, 90)
    assert max(seen) == 2


def test_without_completions_one_success_is_enough(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/controllers/job/#parallel-jobs (a work queue)"""
    space.run("queue", "true", spec={"parallelism": 2})
    assert space.ended("queue").type == "Complete"
    assert space.job("queue").spec.completions is None


def test_a_deadline_ends_the_job_and_its_pods(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-termination-and-cleanup"""
    pod = {"terminationGracePeriodSeconds": 1}
    space.run("late", "sleep", "100", spec={"activeDeadlineSeconds": 1}, pod=pod)
    assert space.ended("late").reason == "DeadlineExceeded"
    wait_for(lambda: not space.pods("late"), what="its pods to go")


def test_a_finished_job_goes_when_its_time_to_live_is_over(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/controllers/job/#clean-up-finished-jobs-automatically"""
    space.cluster.needs(21, "ttlSecondsAfterFinished")
    space.run("brief", "true", spec={"ttlSecondsAfterFinished": 1})
    wait_for(lambda: not space.batch.list_namespaced_job(space.name).items, what="the job to go")
    wait_for(lambda: not space.pods(), what="its pod to go")


def test_a_suspended_job_has_no_pods_until_it_is_resumed(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/controllers/job/#suspending-a-job"""
    space.cluster.needs(22, "suspend")
    space.run("paused", "true", spec={"suspend": True})
    wait_for(lambda: space.job("paused").status.conditions)
    assert space.job("paused").status.conditions[0].reason == "JobSuspended"
    assert not space.pods("paused")
    space.batch.patch_namespaced_job("paused", space.name, {"spec": {"suspend": False}})
    assert space.ended("paused").type == "Complete"


@pytest.mark.parametrize(("action", "reason"), [("FailJob", "PodFailurePolicy"), ("Count", None)])
def test_a_failure_policy_decides_by_exit_code(space: Space, action: str, reason: str | None) -> None:
    """https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy"""
    space.cluster.needs(26, "podFailurePolicy")
    rule = {"action": action, "onExitCodes": {"operator": "In", "values": [42]}}
    spec = {"backoffLimit": 0, "podFailurePolicy": {"rules": [rule]}}
    space.run("fatal", "sh", "-c", "exit 42", spec=spec)
    assert space.ended("fatal").reason == (reason or "BackoffLimitExceeded")
    assert len(space.pods("fatal")) == 1


def test_restarts_on_failure_happen_in_the_same_pod(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/controllers/job/#handling-pod-and-container-failures"""
    space.run_twice("again")
    started = wait_for(lambda: [p for p in space.pods("again") if restarts(p)], what="a restart")
    assert len(started) == 1

    def before() -> str:
        try:
            return space.log(started[0], previous=True)
        except client.ApiException as error:
            assert error.status == 400  # a node may not have written it down yet
            return ""

    assert wait_for(before, what="the log of the run before") == "run\n"


def restarts(pod: Any) -> int:
    return int(sum(s.restart_count for s in pod.status.container_statuses or []))


def test_deleting_in_the_background_takes_the_pods_too(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/architecture/garbage-collection/#background-deletion"""
    space.run("bg", "sh", "-c", POLITE)
    space.running("bg")
    space.batch.delete_namespaced_job("bg", space.name, propagation_policy="Background")
    wait_for(lambda: not space.pods("bg"), what="its pods to go")


def test_deleting_in_the_foreground_keeps_the_job_until_its_pods_are_gone(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/architecture/garbage-collection/#foreground-deletion"""
    space.run("fg", "sh", "-c", "trap 'sleep 1; exit 0' TERM; sleep 100 & wait")
    space.running("fg")
    space.batch.delete_namespaced_job("fg", space.name, propagation_policy="Foreground")
    left = space.job("fg")
    assert left.metadata.finalizers == ["foregroundDeletion"] and left.metadata.deletion_timestamp
    wait_for(lambda: not space.batch.list_namespaced_job(space.name).items, what="the job to go")
    assert not space.pods("fg")


@pytest.mark.parametrize("policy", ["Orphan", None])
def test_orphaned_pods_stay_and_end_by_themselves(space: Space, policy: str | None) -> None:
    """Orphan is what batch/v1 does when a client does not say: https://kubernetes.io/docs/concepts/architecture/garbage-collection/#orphaned-dependents"""
    space.run("left", "sleep", "2")
    pod = space.running("left")
    space.batch.delete_namespaced_job("left", space.name, propagation_policy=policy)
    assert space.exit(pod).exit_code == 0

    def is_free() -> bool:
        return not space.core.read_namespaced_pod(pod.metadata.name, space.name).metadata.owner_references

    wait_for(is_free, what="the pod to be nobody's")


def test_a_deleted_pod_is_replaced(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/controllers/job/#handling-pod-and-container-failures"""
    space.run("again", "sh", "-c", POLITE, spec={"backoffLimit": 3})
    first = space.running("again")
    space.core.delete_namespaced_pod(first.metadata.name, space.name)

    def other() -> bool:
        return any(p.metadata.uid != first.metadata.uid for p in space.pods("again") if p.status.start_time)

    wait_for(other, what="another pod")


def test_the_pod_template_cannot_be_changed(space: Space) -> None:
    """https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/#JobSpec"""
    space.run("fixed", "true")
    change = {"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}}
    with pytest.raises(client.ApiException) as caught:
        space.batch.patch_namespaced_job("fixed", space.name, change)
    assert caught.value.status == 422
    assert "field is immutable" in json.loads(str(caught.value.body))["message"]


def test_parallelism_can_be_changed_while_it_runs(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/controllers/job/#controlling-parallelism"""
    space.run("grows", "sh", "-c", POLITE, spec={"parallelism": 1, "completions": 3})
    space.running("grows")
    space.batch.patch_namespaced_job("grows", space.name, {"spec": {"parallelism": 2}})
    wait_for(lambda: space.job("grows").status.active == 2, what="the second pod")
    space.batch.patch_namespaced_job("grows", space.name, {"spec": {"parallelism": 0}})
    wait_for(lambda: not space.job("grows").status.active, what="no pods")
