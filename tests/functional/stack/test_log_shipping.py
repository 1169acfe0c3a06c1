"""Real jobs' lines in MiniStack's CloudWatch: all of them and in order, whatever dies or goes on the way."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from kubernetes import client as kubernetes_client
from kubernetes import config as kubernetes_config

from infra.local import ministack
from infra.local.processes import wait_until
from tests.stack import RunningStack

GROUP = "/trainyard/jobs"
TALKS_WHEN_STOPPED = """
import signal, sys, time
def stop(*_):
    print("last words")
    sys.exit(1)
signal.signal(signal.SIGTERM, stop)
print("first")
time.sleep(600)
"""


@pytest.fixture
def cloudwatch(stack: RunningStack) -> Any:
    return ministack.client(stack.local, "logs")


def submit(stack: RunningStack, script: str) -> str:
    job = {"jobName": "prints", "image": "python:3.11", "command": ["python", "-u", "-c", script]}
    answer = requests.post(
        f"{stack.url}/api/jobs/create",
        json=job | {"resources": {"cpu": 1, "memory": 268435456, "gpu": 0}},
        headers={"Authorization": f"Bearer {stack.token()}"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["jobId"])


def streams(cloudwatch: Any, job_id: str) -> list[str]:
    found = cloudwatch.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=f"{job_id}.")
    return [stream["logStreamName"] for stream in found["logStreams"]]


def records(cloudwatch: Any, job_id: str) -> list[dict[str, Any]]:
    """Everything in the job's streams, as CloudWatch has it."""
    return [
        json.loads(event["message"])
        for stream in streams(cloudwatch, job_id)
        for event in _events(cloudwatch, stream)
    ]


def _events(cloudwatch: Any, stream: str) -> Iterator[Any]:
    token: dict[str, str] = {}
    while True:
        names = {"logGroupName": GROUP, "logStreamName": stream}
        page = cloudwatch.get_log_events(**names, startFromHead=True, **token)
        if not page["events"]:
            return
        yield from page["events"]
        token = {"nextToken": page["nextForwardToken"]}


def texts(cloudwatch: Any, job_id: str) -> list[str]:
    return [record["log"] for record in records(cloudwatch, job_id)]


def arrive(cloudwatch: Any, job_id: str, last: str) -> bool:
    return wait_until(lambda: last in texts(cloudwatch, job_id), 60)


def delete_job(stack: RunningStack, job_id: str) -> None:
    """As `kubectl delete job` does."""
    connect: Any = kubernetes_config.new_client_from_config
    batch: Any = kubernetes_client.BatchV1Api(connect(stack.kubeconfig))
    batch.delete_namespaced_job(job_id, "trainyard-demo", propagation_policy="Background")


def test_a_jobs_lines_arrive_once_and_in_order_in_a_stream_of_its_container(
    stack: RunningStack, cloudwatch: Any
) -> None:
    job_id = submit(stack, "for n in range(20_000): print(n)\nprint('x' * 1_000_000)\nprint('end')")
    assert arrive(cloudwatch, job_id, "end")
    (stream,) = streams(cloudwatch, job_id)
    assert stream.startswith(f"{job_id}.{job_id}-")
    assert stream.endswith(".training")
    found = records(cloudwatch, job_id)
    whole = "".join(record["log"] + "\n" * (record["logtag"] == "F") for record in found)
    assert whole == "\n".join([*map(str, range(20_000)), "x" * 1_000_000, "end", ""])
    times, offsets = ([record[key] for record in found] for key in ("time", "offset"))
    assert times == sorted(set(times))
    assert offsets == sorted(set(offsets))


def test_the_lines_of_a_job_that_was_deleted_are_there(stack: RunningStack, cloudwatch: Any) -> None:
    job_id = submit(stack, TALKS_WHEN_STOPPED)
    assert arrive(cloudwatch, job_id, "first")
    delete_job(stack, job_id)
    assert arrive(cloudwatch, job_id, "last words")
    assert texts(cloudwatch, job_id) == ["first", "last words"]


def test_what_a_deleted_job_said_while_nobody_shipped_is_shipped_later(
    stack: RunningStack, cloudwatch: Any
) -> None:
    job_id = submit(stack, TALKS_WHEN_STOPPED)
    assert arrive(cloudwatch, job_id, "first")
    stack.kill("shipper")
    delete_job(stack, job_id)
    pods = stack.local.kubernetes_state / "pods"
    (exposed,) = (stack.local.kubernetes_state / "log" / "pods").glob(f"*_{job_id}-*")
    assert wait_until(lambda: not (pods / exposed.name.split("_")[2]).exists(), 30)
    stack.start("shipper")
    assert arrive(cloudwatch, job_id, "last words")
    assert texts(cloudwatch, job_id) == ["first", "last words"]


def test_a_killed_shipper_goes_on_without_a_gap(stack: RunningStack, cloudwatch: Any) -> None:
    job_id = submit(stack, "import time\nfor n in range(600):\n  print(n)\n  time.sleep(0.005)\nprint('end')")
    for progress in ("50", "300"):
        assert arrive(cloudwatch, job_id, progress)
        stack.kill("shipper")
        stack.start("shipper")
    assert arrive(cloudwatch, job_id, "end")
    found = {(record["time"], record["offset"]): record["log"] for record in records(cloudwatch, job_id)}
    assert list(found.values()) == [*map(str, range(600)), "end"]


def test_lines_wait_for_cloudwatch_to_come_back(stack: RunningStack, cloudwatch: Any) -> None:
    job_id = submit(stack, "import time\nfor n in range(60):\n  print(n)\n  time.sleep(0.05)\nprint('end')")
    assert arrive(cloudwatch, job_id, "3")
    stack.kill("ministack", signal.SIGTERM)
    stack.start("ministack")
    assert arrive(cloudwatch, job_id, "end")
    found = {(record["time"], record["offset"]): record["log"] for record in records(cloudwatch, job_id)}
    assert list(found.values()) == [*map(str, range(60)), "end"]


def test_aws_logs_tail_shows_them(stack: RunningStack, cloudwatch: Any) -> None:
    since = int(time.time() * 1000)
    job_id = submit(stack, "print('for the tail')")
    assert arrive(cloudwatch, job_id, "for the tail")
    # What the command asks for.
    found = cloudwatch.filter_log_events(logGroupName=GROUP, startTime=since)["events"]
    assert any(
        event["logStreamName"].startswith(f"{job_id}.") and '"log":"for the tail"' in event["message"]
        for event in found
    )


def test_the_group_keeps_logs_as_long_as_the_template_says(cloudwatch: Any) -> None:
    (group,) = cloudwatch.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]
    assert (group["logGroupName"], group["retentionInDays"]) == (GROUP, 30)


def test_what_jobs_say_when_the_stack_goes_down_is_there_when_it_is_up_again(
    stack: RunningStack, cloudwatch: Any
) -> None:
    job_id = submit(stack, TALKS_WHEN_STOPPED)
    assert arrive(cloudwatch, job_id, "first")
    stack.stop()
    stack.start()
    assert arrive(cloudwatch, job_id, "last words")
    delete_job(stack, job_id)
