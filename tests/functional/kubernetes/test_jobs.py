"""What only the embedded cluster can show of Jobs: its folders, its speed, its short back-off."""

from __future__ import annotations

import time

from tests.functional.kubernetes.clusters import Space, mounted, wait_for


def test_a_process_starts_soon_after_its_job_is_created(space: Space) -> None:
    began = time.monotonic()
    space.run("quick", "sleep", "100", pod={"terminationGracePeriodSeconds": 0})
    space.running("quick")
    assert time.monotonic() - began < 1.5  # 0.1 s on an idle machine


def test_a_retry_that_succeeds_completes_the_job(space: Space) -> None:
    folder = space.claim("work")
    script = "if [ -e /data/tried ]; then exit 0; fi; touch /data/tried; exit 1"
    pod, container = mounted("work", "/data")
    space.run("second", "sh", "-c", script, spec={"backoffLimit": 1}, pod=pod, container=container)
    assert space.ended("second").type == "Complete"
    assert (folder / "tried").exists()
    status = space.job("second").status
    assert (status.succeeded, status.failed) == (1, 1)


def test_a_failure_policy_can_ignore_exit_codes(space: Space) -> None:
    folder = space.claim("work")
    rule = {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}}
    pod, container = mounted("work", "/data")
    script = "[ -e /data/x ] || { touch /data/x; exit 7; }"
    spec = {"podFailurePolicy": {"rules": [rule]}}
    space.run("flaky", "sh", "-c", script, spec=spec, pod=pod, container=container)
    assert space.ended("flaky").type == "Complete"
    assert (folder / "x").exists()
    assert space.job("flaky").status.failed is None


def test_a_deleted_pod_counts_as_failed(space: Space) -> None:
    pod = {"terminationGracePeriodSeconds": 1}
    space.run("again", "sleep", "100", spec={"backoffLimit": 1}, pod=pod)
    first = space.running("again")
    space.core.delete_namespaced_pod(first.metadata.name, space.name)
    wait_for(lambda: space.job("again").status.failed == 1)


def test_restarts_in_the_same_pod_count_towards_the_limit(space: Space) -> None:
    pod = {"restartPolicy": "OnFailure"}
    space.run("again", "sh", "-c", "exit 1", spec={"backoffLimit": 1}, pod=pod)
    assert space.ended("again").reason == "BackoffLimitExceeded"


def test_a_job_that_owns_more_than_pods_ends_too_and_takes_it_along(space: Space) -> None:
    space.run("meets", "true", spec={"parallelism": 2, "completions": 2, "suspend": True})
    job = space.job("meets")
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "meets", "uid": job.metadata.uid}
    spec = {"clusterIP": "None", "selector": {"job-name": "meets"}}
    service = {"metadata": {"name": "meets", "ownerReferences": [owner]}, "spec": spec}
    space.core.create_namespaced_service(space.name, service)
    space.batch.patch_namespaced_job("meets", space.name, {"spec": {"suspend": False}})
    assert space.ended("meets").type == "Complete"
    space.batch.delete_namespaced_job("meets", space.name, propagation_policy="Background")
    wait_for(lambda: not space.core.list_namespaced_service(space.name).items)
