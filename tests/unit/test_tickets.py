"""Terminal tickets: what is signed is read back, and nothing else is."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest

from chalicelib.errors import TicketExpired, TicketInvalid
from chalicelib.services.ticket_ports import Grant
from chalicelib.tickets import AUDIENCE, SignedTickets
from tests.builders import JOB_ID, NOW

SECRET = "s" * 32
GRANT = Grant(subject="ada", tenant="acme", job_id=JOB_ID, pod=f"{JOB_ID}-abcde", pool="default")
CLAIMS: dict[str, Any] = {
    "jti": "t1",
    "aud": AUDIENCE,
    "iat": int(NOW.timestamp()),
    "exp": int(NOW.timestamp()) + 60,
    "sub": "ada",
    "tenant": "acme",
    "job": JOB_ID,
    "pod": f"{JOB_ID}-abcde",
    "pool": "default",
}


def tickets(seconds: float = 0, secret: str = SECRET) -> SignedTickets:
    """At a moment that many seconds after NOW."""
    return SignedTickets(secret, lambda: NOW + timedelta(seconds=seconds), lambda: "t1")


def signed(secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return jwt.encode(claims, secret, algorithm=algorithm)


def test_a_ticket_says_what_was_granted_and_lasts_a_minute() -> None:
    ticket = tickets(59.9).read(tickets().issue(GRANT))
    assert (ticket.id, ticket.grant, ticket.expires_at) == ("t1", GRANT, NOW + timedelta(seconds=60))


def test_its_claims_are_those_that_are_documented() -> None:
    assert jwt.decode(tickets().issue(GRANT), options={"verify_signature": False}) == CLAIMS


def test_after_its_minute_it_has_expired() -> None:
    with pytest.raises(TicketExpired):
        tickets(60).read(tickets().issue(GRANT))


def tampered() -> str:
    head, body, signature = tickets().issue(GRANT).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    forged = base64.urlsafe_b64encode(json.dumps(claims | {"tenant": "rival"}).encode()).decode().rstrip("=")
    return f"{head}.{forged}.{signature}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("nonsense", id="no JWT"),
        pytest.param("x" * 100_000, id="too long"),
        pytest.param("é.ü.ö", id="not ASCII"),
        pytest.param(tampered(), id="another tenant written in"),
        pytest.param(signed(secret="o" * 32), id="another secret"),
        pytest.param(jwt.encode(CLAIMS, "", algorithm="none"), id="no signature"),
        pytest.param(signed(aud="trainyard"), id="another audience"),
        pytest.param(signed(aud=None), id="no audience"),
        pytest.param(signed(exp=None), id="no expiry"),
        pytest.param(signed(exp=1e300), id="an expiry beyond all times"),
        pytest.param(signed(exp="soon"), id="an expiry that is no time"),
        pytest.param(signed(job=7), id="a job that is no text"),
        pytest.param(signed(pod=None), id="no pod"),
        pytest.param(signed(jti=None), id="no id"),
    ],
)
def test_anything_else_is_not_a_ticket(text: str) -> None:
    with pytest.raises(TicketInvalid):
        tickets().read(text)


def test_without_a_secret_nothing_verifies() -> None:
    with pytest.raises(TicketInvalid):
        tickets(secret="").read(jwt.encode(CLAIMS, "", algorithm="none"))
