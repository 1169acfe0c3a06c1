"""Dead letters go back to where they came from, on MiniStack's real queues."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local import ministack, redrive, template
from infra.local.config import Local, load
from infra.local.processes import wait_until
from tests.functional.queues.conftest import RESOURCES

TEMPLATE = template.read(RESOURCES)


@pytest.fixture
def urls(local: Local) -> Iterator[dict[str, str]]:
    urls = dict(ministack.deployed(local).resources)
    yield urls
    for name in ("Work", "OtherWork", "Letters"):
        ministack.client(local, "sqs").purge_queue(QueueUrl=urls[name])


def take(local: Local, url: str) -> list[dict[str, Any]]:
    answer = ministack.client(local, "sqs").receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], AttributeNames=["All"]
    )
    return list(answer.get("Messages", []))


def kill(local: Local, urls: dict[str, str], queue: str, *bodies: str) -> None:
    """Send messages and receive them until the queue gives them up."""
    sqs = ministack.client(local, "sqs")
    for body in bodies:
        attributes = {"from": {"DataType": "String", "StringValue": queue}}
        sqs.send_message(QueueUrl=urls[queue], MessageBody=body, MessageAttributes=attributes)

    def given_up() -> bool:
        take(local, urls[queue])
        counts = sqs.get_queue_attributes(QueueUrl=urls[queue], AttributeNames=["All"])["Attributes"]
        kinds = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        return all(counts[kind] == "0" for kind in kinds)

    assert wait_until(given_up, 20)


def test_each_dead_letter_goes_back_to_its_queue_whole(local: Local, urls: dict[str, str]) -> None:
    kill(local, urls, "Work", "one", "two")
    kill(local, urls, "OtherWork", "three")
    assert sorted(redrive.report(local, TEMPLATE)) == [
        "Letters: 1 moved to OtherWork",
        "Letters: 2 moved to Work",
    ]
    work, other = take(local, urls["Work"]), take(local, urls["OtherWork"])
    assert sorted(message["Body"] for message in work) == ["one", "two"]
    assert [message["Body"] for message in other] == ["three"]
    assert other[0]["MessageAttributes"]["from"]["StringValue"] == "OtherWork"
    assert work[0]["Attributes"]["ApproximateReceiveCount"] == "1", "counted from zero"
    assert take(local, urls["Letters"]) == []


def test_more_than_one_call_takes_is_moved(local: Local, urls: dict[str, str]) -> None:
    kill(local, urls, "OtherWork", *map(str, range(25)))
    assert redrive.report(local, TEMPLATE) == ["Letters: 25 moved to OtherWork"]


def test_what_a_rule_could_not_deliver_goes_to_the_queue_of_these_letters(
    local: Local, urls: dict[str, str]
) -> None:
    ministack.client(local, "sqs").send_message(QueueUrl=urls["Letters"], MessageBody="undelivered")
    (line,) = redrive.report(local, TEMPLATE)
    assert line == "Letters: 1 moved to OtherWork"


@pytest.mark.usefixtures("urls")
def test_nothing_to_move_is_said(local: Local) -> None:
    assert redrive.report(local, TEMPLATE) == ["Letters: nothing to move"]


def test_dead_letters_of_streams_are_no_concern(local: Local) -> None:
    streams = {"Resources": {"OutboxDeadLetters": {"Type": "AWS::SQS::Queue", "Properties": {}}}}
    assert redrive.report(local, streams) == ["no queue has dead letters that could be moved"]


def test_a_queue_that_is_not_deployed_yet_is_named(local: Local) -> None:
    policy = {"deadLetterTargetArn": {"Fn::GetAtt": ["NewLetters", "Arn"]}}
    newer = {"Resources": {"New": {"Type": "AWS::SQS::Queue", "Properties": {"RedrivePolicy": policy}}}}
    with pytest.raises(ministack.DeployFailed, match="NewLetters is not deployed; run make up"):
        redrive.report(local, newer)


def test_without_a_stack_it_says_so_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    monkeypatch.setenv("TRAINYARD_AWS_PORT", "1")
    assert redrive.main() == 1
    assert capsys.readouterr().err == f"MiniStack does not answer at {load().aws_url}: run make up\n"
