"""Rules on the embedded stack's bus get every move of a real job, also what was moved while nobody read; and
what was repaired."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from jsonschema import Draft202012Validator

from chalicelib.cluster.api import KubernetesApi
from infra.local import ministack
from infra.local.processes import wait_until
from tests.stack import RunningStack

SCHEMAS = Path(__file__).parents[3] / "docs/events"
MOVE, REPAIR = "Training Job State Change", "Training Job Repair"
BODY = {"jobName": "told", "image": "python", "command": ["python", "-c", "print(6 * 7)"]}


class Rule:
    """A rule of the test's own, with a queue for what it matches."""

    def __init__(self, stack: RunningStack, name: str, kind: str = MOVE) -> None:
        self._sqs = ministack.client(stack.local, "sqs")
        events = ministack.client(stack.local, "events")
        self._url = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        arn = attributes["Attributes"]["QueueArn"]
        pattern = json.dumps({"source": ["trainyard"], "detail-type": [kind]})
        events.put_rule(EventBusName="trainyard", Name=name, EventPattern=pattern)
        events.put_targets(EventBusName="trainyard", Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
        self.events: list[Mapping[str, Any]] = []

    def details(self, job_id: str) -> list[Mapping[str, Any]]:
        """What has been told of the job so far."""
        answer = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10)
        self.events += [json.loads(message["Body"]) for message in answer.get("Messages", [])]
        return [event["detail"] for event in self.events if event["detail"]["id"] == job_id]

    def moves(self, job_id: str) -> list[tuple[str | None, str]]:
        """The job's moves so far, in the order of their versions, each once."""
        details = self.details(job_id)
        in_order = {detail["version"]: detail for detail in sorted(details, key=lambda d: int(d["version"]))}
        return [(detail["from"], detail["to"]) for detail in in_order.values()]


def submit(stack: RunningStack, **changes: Any) -> str:
    answer = requests.post(
        f"{stack.url}/api/jobs/create", json=BODY | changes, headers=_me(stack), timeout=30
    )
    return str(answer.json()["data"]["jobId"])


def reasons(stack: RunningStack, job_id: str) -> list[str]:
    """What has happened to the job, as its caller is told."""
    answer = requests.get(f"{stack.url}/api/jobs/{job_id}/events", headers=_me(stack), timeout=30)
    return [event["reason"] for event in answer.json()["data"]["events"]]


def _me(stack: RunningStack) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {stack.token()}"}


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((SCHEMAS / f"{name}.schema.json").read_text()))


def is_whole(moves: list[tuple[str | None, str]]) -> bool:
    """Whether each move begins where the last one ended, from a new job to one that succeeded."""
    froms, tos = [was for was, _ in moves], [to for _, to in moves]
    return froms == [None, *tos[:-1]] and tos[-1:] == ["succeeded"]


def test_a_rule_gets_every_move_of_a_job_as_the_schema_says(stack: RunningStack) -> None:
    rule = Rule(stack, "every-move")
    job_id = submit(stack)
    assert wait_until(lambda: is_whole(rule.moves(job_id)), 60), rule.moves(job_id)
    schema = validator("training-job-state-change")
    for event in rule.events:
        schema.validate(event)


def test_what_was_written_while_no_publisher_ran_is_published_later(stack: RunningStack) -> None:
    rule = Rule(stack, "later")
    stack.kill("pump")
    job_id = submit(stack)
    assert rule.moves(job_id) == []
    stack.start("pump")
    assert wait_until(lambda: is_whole(rule.moves(job_id)), 60), rule.moves(job_id)


def test_a_job_that_is_deleted_by_hand_is_told_of_as_repaired(stack: RunningStack) -> None:
    rule = Rule(stack, "repairs", REPAIR)
    kept = submit(stack, command=["sleep", "600"])
    job_id = submit(stack, command=["sleep", "600"])
    assert wait_until(lambda: {"Started"} <= {*reasons(stack, job_id)} & {*reasons(stack, kept)}, 60)
    admin = KubernetesApi.from_kubeconfig(stack.kubeconfig, None, 10)
    admin.delete(
        f"/apis/batch/v1/namespaces/trainyard-demo/jobs/{job_id}", {"propagationPolicy": "Background"}
    )
    assert wait_until(lambda: rule.details(job_id) != [], 60)
    (event,) = rule.events
    validator("training-job-repair").validate(event)
    assert (event["detail"]["kind"], event["detail"]["tenant"]) == ("JobDeleted", "demo")
    assert "Repaired" in reasons(stack, job_id)
    lines = [json.loads(line) for line in stack.log("pump").splitlines() if line.startswith('{"_aws"')]
    assert [(line["Kind"], line["Repairs"]) for line in lines if "Repairs" in line] == [("JobDeleted", 1)]
    assert {job_id, kept} <= {line["job_id"] for line in lines if "Submissions" in line}
