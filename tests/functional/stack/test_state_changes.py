"""A rule on the embedded stack's bus gets every move of a real job, also what was moved while nobody read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from jsonschema import Draft202012Validator

from infra.local import ministack
from infra.local.processes import wait_until
from tests.stack import RunningStack

SCHEMA = Path(__file__).parents[3] / "docs/events/training-job-state-change.schema.json"
BODY = {"jobName": "told", "image": "python", "command": ["python", "-c", "print(6 * 7)"]}


class Rule:
    """A rule of the test's own, with a queue for what it matches."""

    def __init__(self, stack: RunningStack, name: str) -> None:
        self._sqs = ministack.client(stack.local, "sqs")
        events = ministack.client(stack.local, "events")
        self._url = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        arn = attributes["Attributes"]["QueueArn"]
        pattern = json.dumps({"source": ["trainyard"], "detail-type": ["Training Job State Change"]})
        events.put_rule(EventBusName="trainyard", Name=name, EventPattern=pattern)
        events.put_targets(EventBusName="trainyard", Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
        self.events: list[Mapping[str, Any]] = []

    def moves(self, job_id: str) -> list[tuple[str | None, str]]:
        """The job's moves so far, in the order of their versions, each once."""
        answer = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10)
        self.events += [json.loads(message["Body"]) for message in answer.get("Messages", [])]
        details = [event["detail"] for event in self.events if event["detail"]["id"] == job_id]
        in_order = {detail["version"]: detail for detail in sorted(details, key=lambda d: int(d["version"]))}
        return [(detail["from"], detail["to"]) for detail in in_order.values()]


def submit(stack: RunningStack) -> str:
    headers = {"Authorization": f"Bearer {stack.token()}"}
    answer = requests.post(f"{stack.url}/api/jobs/create", json=BODY, headers=headers, timeout=30)
    return str(answer.json()["data"]["jobId"])


def is_whole(moves: list[tuple[str | None, str]]) -> bool:
    """Whether each move begins where the last one ended, from a new job to one that succeeded."""
    froms, tos = [was for was, _ in moves], [to for _, to in moves]
    return froms == [None, *tos[:-1]] and tos[-1:] == ["succeeded"]


def test_a_rule_gets_every_move_of_a_job_as_the_schema_says(stack: RunningStack) -> None:
    rule = Rule(stack, "every-move")
    job_id = submit(stack)
    assert wait_until(lambda: is_whole(rule.moves(job_id)), 60), rule.moves(job_id)
    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    for event in rule.events:
        validator.validate(event)


def test_what_was_written_while_no_publisher_ran_is_published_later(stack: RunningStack) -> None:
    rule = Rule(stack, "later")
    stack.kill("pump")
    job_id = submit(stack)
    assert rule.moves(job_id) == []
    stack.start("pump")
    assert wait_until(lambda: is_whole(rule.moves(job_id)), 60), rule.moves(job_id)
