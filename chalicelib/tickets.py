"""Terminal tickets as signed JWTs: the api makes them, the relay reads them, both have the secret.

PyJWT checks signature and audience. The times are checked here, because PyJWT reads the wall clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from jwt.exceptions import PyJWTError

from chalicelib.errors import TicketExpired, TicketInvalid
from chalicelib.services.ports import Clock
from chalicelib.services.ticket_ports import Grant, Ticket

ALGORITHM = "HS256"
AUDIENCE = "trainyard-terminal"
LASTS = timedelta(seconds=60)
MAX_CHARS = 2048
# The grant's fields are claims; some go by a JWT's own names.
_CLAIMS = {field.name: field.name for field in fields(Grant)} | {"subject": "sub", "job_id": "job"}
_OPTIONS: Any = {
    "require": ["exp", "aud", "jti", *_CLAIMS.values()],
    "verify_exp": False,
    "verify_iat": False,
}


class SignedTickets:
    """services.ticket_ports.Tickets over a shared secret."""

    def __init__(self, secret: str, clock: Clock, new_id: Callable[[], str]) -> None:
        self._secret = secret
        self._clock = clock
        self._new_id = new_id

    def issue(self, grant: Grant) -> str:
        now = self._clock()
        times = {"iat": int(now.timestamp()), "exp": int((now + LASTS).timestamp())}
        claims = {claim: getattr(grant, name) for name, claim in _CLAIMS.items()}
        ticket = {"jti": self._new_id(), "aud": AUDIENCE, **times, **claims}
        return jwt.encode(ticket, self._secret, algorithm=ALGORITHM)

    def read(self, text: str) -> Ticket:
        claims = self._signed_claims(text)
        texts = {name: claims[claim] for name, claim in _CLAIMS.items()}
        expires = claims["exp"]
        if type(expires) is not int or not all(isinstance(text, str) for text in texts.values()):
            raise TicketInvalid("a claim of the ticket has the wrong type")
        if self._clock().timestamp() >= expires:
            raise TicketExpired(f"the ticket expired at {expires}")
        return Ticket(str(claims["jti"]), Grant(**texts), datetime.fromtimestamp(expires, UTC))

    def _signed_claims(self, text: str) -> Mapping[str, Any]:
        if not self._secret or len(text) > MAX_CHARS:
            raise TicketInvalid("no secret to check it with" if not self._secret else "too long for a ticket")
        try:
            claims: Mapping[str, Any] = jwt.decode(
                text, self._secret, algorithms=[ALGORITHM], audience=AUDIENCE, options=_OPTIONS
            )
        except (PyJWTError, ValueError, RecursionError) as error:
            raise TicketInvalid(f"the ticket does not verify: {error}") from error
        return claims
