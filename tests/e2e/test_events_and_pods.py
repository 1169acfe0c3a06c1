"""What happened to a job and to its pods is told while it runs, and after the cluster has forgotten both."""

from __future__ import annotations

from typing import Any

from tests.e2e.conftest import NAMESPACE, World, wait_for


def test_events_and_pods_outlive_the_kubernetes_job(world: World) -> None:
    job_id = world.python("raise SystemExit(3)", maxRetries=1)
    assert world.ended(job_id)["status"] == "failed"
    # The last that Kubernetes tells comes when its Job is over already.
    wait_for(lambda: reasons(world, job_id), lambda told: told.count("BackoffLimitExceeded") == 1)
    pods, events = world.pods_told(job_id), world.events(job_id)
    world.kubernetes.delete(
        f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{job_id}", {"propagationPolicy": "Background"}
    )
    for event in list(world.kubernetes.items(f"/api/v1/namespaces/{NAMESPACE}/events", {})):
        if event["involvedObject"]["name"].startswith(job_id):
            name = event["metadata"]["name"]
            world.kubernetes.delete(f"/api/v1/namespaces/{NAMESPACE}/events/{name}", {})
    wait_for(lambda: world.is_clean(job_id))
    assert world.events(job_id) == events
    assert world.pods_told(job_id) == pods
    assert [(pod["phase"], pod["exitCode"], pod["reason"]) for pod in pods] == [("Failed", 3, "Error")] * 2
    assert all(pod["node"] and pod["startedAt"] <= pod["finishedAt"] for pod in pods)
    assert {f"Pod/{pod['name']}" for pod in pods} <= {event["object"] for event in events}


def test_a_stop_is_told_with_who_asked_for_it_and_its_pod_with_how_it_ended(world: World) -> None:
    job_id = world.python("import time; print('on', flush=True); time.sleep(600)")
    world.until(job_id, lambda job: job["status"] == "running")
    (pod,) = world.pods_told(job_id)
    assert (pod["phase"], pod["finishedAt"], pod["exitCode"]) == ("Running", None, None)
    wait_for(lambda: reasons(world, job_id), lambda told: "Started" in told)
    world.call("POST", f"/api/jobs/{job_id}/stop")
    world.ended(job_id)
    told = {event["reason"]: event for event in world.events(job_id)}
    assert told["StopRequested"]["message"].startswith("stop requested by ")
    assert told["Stopped"]["type"] == "Normal"
    order = [told[reason]["firstTimestamp"] for reason in ("Accepted", "Started", "StopRequested", "Stopped")]
    assert order == sorted(order)
    (pod,) = world.pods_told(job_id)
    assert pod["phase"] in ("Failed", "Gone")


def test_what_kubernetes_says_of_a_job_that_waits_is_told_once_with_its_count(world: World) -> None:
    job_id = world.python("pass", resources={"cpu": 1000})
    seen = wait_for(
        lambda: [event for event in world.events(job_id) if event["reason"] == "FailedScheduling"]
    )
    assert len(seen) == len({(event["message"], event["object"]) for event in seen})
    assert seen[0]["type"] == "Warning" and "Insufficient cpu" in seen[0]["message"]
    (pod,) = wait_for(lambda: world.pods_told(job_id))
    assert (pod["phase"], pod["reason"], pod["node"]) == ("Pending", "Unschedulable", None)
    world.call("DELETE", f"/api/jobs/{job_id}")


def test_what_happens_while_nobody_reads_is_caught_up_with_and_told_once(world: World) -> None:
    job_id = world.python("import time; time.sleep(3); raise SystemExit(3)")
    wait_for(lambda: reasons(world, job_id), lambda told: "Started" in told)
    world.stack.kill("pump")
    wait_for(lambda: (world.kubernetes_job(job_id)["status"] or {}).get("conditions"))
    assert "BackoffLimitExceeded" not in reasons(world, job_id)
    world.stack.start("pump")
    assert world.ended(job_id)["reason"] == "ExitCode"
    wait_for(lambda: is_quiet(world, job_id))
    assert [(event["reason"], event["count"]) for event in world.events(job_id)].count(("Started", 1)) == 1
    assert reasons(world, job_id).count("BackoffLimitExceeded") == 1


def test_pages_of_events_are_the_list(world: World) -> None:
    job_id = world.python("pass")
    world.ended(job_id)
    wait_for(lambda: reasons(world, job_id), lambda told: {"Started", "Completed"} <= set(told))
    wait_for(lambda: is_quiet(world, job_id))
    paged: list[Any] = []
    cursor = ""
    while cursor is not None:
        data = world.call("GET", f"/api/jobs/{job_id}/events?limit=2{cursor}").json()["data"]
        paged += data["events"]
        cursor = data["nextCursor"] and f"&cursor={data['nextCursor']}"
    assert paged == world.events(job_id)


def is_quiet(world: World, job_id: str) -> bool:
    """Whether all that Kubernetes has to tell of the job is told."""
    events = world.kubernetes.items(f"/api/v1/namespaces/{NAMESPACE}/events", {})
    known = {e["reason"] for e in events if e["involvedObject"]["name"].startswith(job_id)}
    return known <= set(reasons(world, job_id))


def reasons(world: World, job_id: str) -> list[str]:
    return [event["reason"] for event in world.events(job_id)]
