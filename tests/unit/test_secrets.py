"""The secret of terminals, out of Secrets Manager, when the first ticket is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from chalicelib.aws import client
from chalicelib.aws_session import AwsSession
from chalicelib.bootstrap import Container
from chalicelib.errors import SecretUnavailable
from chalicelib.services.ticket_ports import Grant
from chalicelib.settings import load
from chalicelib.tickets import SignedTickets

SECRET = "s" * 64
GRANT = Grant(subject="ada", tenant="acme", job_id="job-1", pod="job-1-a", pool="default")


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield client(AwsSession(), "secretsmanager")


def container(**settings: str) -> Container:
    return Container(load({f"TRAINYARD_TERMINAL_{name}": text for name, text in settings.items()}))


def test_the_api_signs_with_the_secret_that_its_arn_names(manager: Any) -> None:
    arn = manager.create_secret(Name="tickets", SecretString=SECRET)["ARN"]
    made = container(SECRET_ARN=arn)
    ticket = made.tickets.issue(GRANT)
    assert SignedTickets(SECRET, made.clock, lambda: "id").read(ticket).grant == GRANT


def test_a_secret_that_cannot_be_read_is_tried_again_by_the_next_request(manager: Any) -> None:
    made = container(SECRET_ARN="tickets")
    with pytest.raises(SecretUnavailable, match="tickets"):
        _ = made.tickets
    manager.create_secret(Name="tickets", SecretString=SECRET)
    assert made.tickets.read(made.tickets.issue(GRANT)).grant == GRANT


@pytest.mark.usefixtures("manager")
def test_a_secret_that_is_given_asks_nobody() -> None:
    made = container(SECRET=SECRET, SECRET_ARN="not there")
    assert made.tickets.read(made.tickets.issue(GRANT)).grant == GRANT
