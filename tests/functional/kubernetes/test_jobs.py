"""Jobs as https://kubernetes.io/docs/concepts/workloads/controllers/job/ describes them."""

from __future__ import annotations

import time

from kubernetes import client

from tests.functional.kubernetes.clusters import Space, wait_for


def test_a_job_runs_to_completion_and_leaves_log_counters_and_events(space: Space) -> None:
    space.run("hello", "sh", "-c", "echo out; echo err >&2")
    assert space.ended("hello").type == "Complete"
    status = space.job("hello").status
    assert (status.succeeded, status.failed, status.active) == (1, None, None)
    assert status.start_time and status.completion_time
    pod = space.pod("hello")
    assert sorted(space.log(pod).split()) == ["err", "out"]
    assert pod.metadata.name.startswith("hello-") and pod.metadata.owner_references[0].name == "hello"
    for reason in ("SuccessfulCreate", "Completed", "Scheduled", "Pulled", "Created", "Started"):
        assert space.events(reason), reason


def test_a_process_starts_soon_after_its_job_is_created(space: Space) -> None:
    began = time.monotonic()
    space.run("quick", "sleep", "100", pod={"terminationGracePeriodSeconds": 0})
    space.running("quick")
    assert time.monotonic() - began < 1.5  # 0.1 s on an idle machine


def test_failures_are_retried_up_to_the_limit_and_told_with_their_exit_code(space: Space) -> None:
    space.run("fails", "sh", "-c", "echo attempt; exit 3", spec={"backoffLimit": 2})
    assert space.ended("fails").reason == "BackoffLimitExceeded"
    assert space.job("fails").status.failed == 3
    assert [space.exit(p).exit_code for p in space.pods("fails")] == [3, 3, 3]
    assert space.events("BackoffLimitExceeded")


def test_a_retry_that_succeeds_completes_the_job(space: Space) -> None:
    folder = space.claim("work")
    script = "if [ -e /work/tried ]; then exit 0; fi; touch /work/tried; exit 1"
    volume = {"name": "w", "persistentVolumeClaim": {"claimName": "work"}}
    space.run(
        "second",
        "sh",
        "-c",
        script,
        spec={"backoffLimit": 1},
        pod={"volumes": [volume]},
        container={"volumeMounts": [{"name": "w", "mountPath": "/work"}]},
    )
    assert space.ended("second").type == "Complete"
    assert (folder / "tried").exists()
    status = space.job("second").status
    assert (status.succeeded, status.failed) == (1, 1)


def test_an_indexed_job_gives_each_pod_its_index(space: Space) -> None:
    space.run(
        "ranks",
        "sh",
        "-c",
        "echo $JOB_COMPLETION_INDEX $HOSTNAME",
        spec={"completionMode": "Indexed", "completions": 3, "parallelism": 3},
    )
    assert space.ended("ranks").type == "Complete"
    assert space.job("ranks").status.completed_indexes == "0-2"
    logs = sorted(space.log(p).strip() for p in space.pods("ranks"))
    assert logs == ["0 ranks-0", "1 ranks-1", "2 ranks-2"]
    labels = {p.metadata.labels["batch.kubernetes.io/job-completion-index"] for p in space.pods("ranks")}
    assert labels == {"0", "1", "2"}


def test_parallelism_bounds_how_many_run_at_once(space: Space) -> None:
    space.run("many", "sleep", "0.2", spec={"completions": 4, "parallelism": 2})
    seen: set[int] = set()

    def over() -> bool:
        status = space.job("many").status
        seen.add(status.active or 0)
        return bool(status.succeeded == 4)

    wait_for(over)
    assert max(seen) == 2


def test_a_deadline_ends_the_job_and_its_pods(space: Space) -> None:
    space.run(
        "late", "sleep", "100", spec={"activeDeadlineSeconds": 1}, pod={"terminationGracePeriodSeconds": 1}
    )
    assert space.ended("late").reason == "DeadlineExceeded"
    wait_for(lambda: not space.pods("late"), what="its pods to go")


def test_a_finished_job_goes_when_its_time_to_live_is_over(space: Space) -> None:
    space.run("brief", "true", spec={"ttlSecondsAfterFinished": 1})
    wait_for(lambda: not space.batch.list_namespaced_job(space.name).items, what="the job to go")
    wait_for(lambda: not space.pods(), what="its pod to go")


def test_a_suspended_job_has_no_pods_until_it_is_resumed(space: Space) -> None:
    space.run("paused", "true", spec={"suspend": True})
    wait_for(lambda: space.job("paused").status.conditions)
    assert space.job("paused").status.conditions[0].reason == "JobSuspended"
    assert not space.pods("paused")
    space.batch.patch_namespaced_job("paused", space.name, {"spec": {"suspend": False}})
    assert space.ended("paused").type == "Complete"


def test_a_failure_policy_can_end_the_job_at_once(space: Space) -> None:
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
    space.run("fatal", "sh", "-c", "exit 42", spec={"backoffLimit": 5, "podFailurePolicy": {"rules": [rule]}})
    ended = space.ended("fatal")
    assert ended.reason == "PodFailurePolicy"
    assert "failed with exit code 42 matching FailJob rule at index 0" in ended.message
    assert len(space.pods("fatal")) == 1


def test_a_failure_policy_can_ignore_exit_codes(space: Space) -> None:
    folder = space.claim("work")
    rule = {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}}
    volume = {"name": "w", "persistentVolumeClaim": {"claimName": "work"}}
    space.run(
        "flaky",
        "sh",
        "-c",
        "[ -e /work/x ] || { touch /work/x; exit 7; }",
        spec={"podFailurePolicy": {"rules": [rule]}},
        pod={"volumes": [volume]},
        container={"volumeMounts": [{"name": "w", "mountPath": "/work"}]},
    )
    assert space.ended("flaky").type == "Complete"
    assert (folder / "x").exists()
    assert space.job("flaky").status.failed is None


def test_restarts_on_failure_happen_in_the_same_pod(space: Space) -> None:
    space.run(
        "again", "sh", "-c", "echo run; exit 1", spec={"backoffLimit": 1}, pod={"restartPolicy": "OnFailure"}
    )
    assert space.ended("again").reason == "BackoffLimitExceeded"


def test_deleting_in_the_background_takes_the_pods_too(space: Space) -> None:
    space.run("bg", "sleep", "100", pod={"terminationGracePeriodSeconds": 1})
    space.running("bg")
    space.batch.delete_namespaced_job("bg", space.name, propagation_policy="Background")
    wait_for(lambda: not space.pods("bg"), what="its pods to go")


def test_deleting_in_the_foreground_keeps_the_job_until_its_pods_are_gone(space: Space) -> None:
    space.run("fg", "sh", "-c", "trap 'sleep 0.5; exit 0' TERM; sleep 100 & wait")
    space.running("fg")
    space.batch.delete_namespaced_job("fg", space.name, propagation_policy="Foreground")
    left = space.job("fg")
    assert left.metadata.finalizers == ["foregroundDeletion"] and left.metadata.deletion_timestamp
    wait_for(lambda: not space.batch.list_namespaced_job(space.name).items, what="the job to go")
    assert not space.pods("fg")


def test_orphaned_pods_stay_and_end_by_themselves(space: Space) -> None:
    space.run("left", "sleep", "0.5")
    pod = space.running("left")
    space.batch.delete_namespaced_job("left", space.name, propagation_policy="Orphan")
    assert space.exit(pod).exit_code == 0
    stays = space.core.read_namespaced_pod(pod.metadata.name, space.name)
    assert not stays.metadata.owner_references
    space.core.delete_namespaced_pod(pod.metadata.name, space.name)
    wait_for(lambda: not space.pods(), what="the pod to go")


def test_a_deleted_pod_is_counted_and_replaced(space: Space) -> None:
    space.run(
        "again", "sh", "-c", "sleep 100", spec={"backoffLimit": 1}, pod={"terminationGracePeriodSeconds": 1}
    )
    first = space.running("again")
    space.core.delete_namespaced_pod(first.metadata.name, space.name)

    def other() -> bool:
        return any(
            p.status.phase == "Running" and p.metadata.uid != first.metadata.uid for p in space.pods("again")
        )

    wait_for(other, what="another pod")
    wait_for(lambda: space.job("again").status.failed == 1)


def test_the_pod_template_cannot_be_changed(space: Space) -> None:
    space.run("fixed", "true")
    change = {"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}}
    try:
        space.batch.patch_namespaced_job("fixed", space.name, change)
    except client.ApiException as error:
        assert error.status == 422 and "field is immutable" in str(error.body)
    else:
        raise AssertionError("the change was accepted")
