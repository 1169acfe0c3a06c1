"""Moves dead letters back to the queues that they came from, to be tried again: `make redrive`.

    python -m infra.local.redrive

In AWS that is SQS' own StartMessageMoveTask, which MiniStack does not have. As there, a moved message is a
new one, with its deliveries counted from zero. The dead letters of streams are left alone: they say where in
a stream something was lost, and are no messages of any queue (docs/uploads.md).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.local import config, ministack, template
from infra.local.config import RESOURCES, BadConfig, Local
from infra.local.ministack import DeployFailed


def dead_letter_queues(resources: Mapping[str, Any]) -> dict[str, str]:
    """The queues that a RedrivePolicy of the template names, each with one queue that it takes letters of; by
    logical names."""
    found = {}
    for name, body in resources.get("Resources", {}).items():
        policy = body.get("Properties", {}).get("RedrivePolicy")
        if body.get("Type") == "AWS::SQS::Queue" and policy:
            found[str(policy["deadLetterTargetArn"]["Fn::GetAtt"][0])] = str(name)
    return found


def move(sqs: Any, dead_letters: str, queue: str) -> Counter[str]:
    """Move all that can be received of the queue `dead_letters`: each message to the queue that gave it up,
    or to `queue` if none did (a rule sent it). How many went where; all by URL. Raises botocore's errors;
    the message that was being moved then may be in both queues."""
    moved: Counter[str] = Counter()
    while messages := _receive(sqs, dead_letters):
        for message in messages:
            source = message.get("Attributes", {}).get("DeadLetterQueueSourceArn")
            target = sqs.get_queue_url(QueueName=source.rsplit(":", 1)[-1])["QueueUrl"] if source else queue
            sqs.send_message(
                QueueUrl=target,
                MessageBody=message["Body"],
                MessageAttributes=message.get("MessageAttributes", {}),
            )
            sqs.delete_message(QueueUrl=dead_letters, ReceiptHandle=message["ReceiptHandle"])
            moved[target] += 1
    return moved


def report(local: Local, resources: Mapping[str, Any]) -> list[str]:
    """Move everything; a line about each queue. Raises DeployFailed and botocore's errors."""
    deployed = ministack.deployed(local).resources
    names = {_name(url): logical for logical, url in deployed.items()}
    sqs = ministack.client(local, "sqs")
    lines = []
    for dead_letters, queue in dead_letter_queues(resources).items():
        if dead_letters not in deployed or queue not in deployed:
            raise DeployFailed(f"{dead_letters} is not deployed; run make up")
        moved = move(sqs, deployed[dead_letters], deployed[queue])
        for url, count in moved.items():
            target = names.get(_name(url), _name(url))
            lines.append(f"{dead_letters}: {count} moved to {target}")
        if not moved:
            lines.append(f"{dead_letters}: nothing to move")
    return lines or ["no queue has dead letters that could be moved"]


def main() -> int:
    try:
        local = config.load()
        if not ministack.answers(local):
            print(f"MiniStack does not answer at {local.aws_url}: run make up", file=sys.stderr)
            return 1
        print("\n".join(report(local, template.read(RESOURCES))))
    except (BadConfig, DeployFailed, BotoCoreError, ClientError) as error:
        print(f"redrive: {error}", file=sys.stderr)
        return 1
    return 0


def _receive(sqs: Any, url: str) -> list[Mapping[str, Any]]:
    answer = sqs.receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=10,
        MessageSystemAttributeNames=["All"],
        MessageAttributeNames=["All"],
    )
    return list(answer.get("Messages", []))


def _name(url: str) -> str:
    return url.rsplit("/", 1)[-1]


if __name__ == "__main__":
    raise SystemExit(main())
