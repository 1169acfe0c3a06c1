"""What the services need of terminals' tickets, as a protocol."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The right to open a terminal in a pod. `tenant` is the job's, `subject` who asked for it."""

    subject: str
    tenant: str
    job_id: str
    pod: str
    pool: str


@dataclass(frozen=True, slots=True)
class Ticket:
    """A grant for one time."""

    id: str
    grant: Grant
    expires_at: datetime


class Tickets(Protocol):
    """Writes tickets as texts that nobody can change or make up."""

    def issue(self, grant: Grant) -> str:
        """A new ticket; it lasts for a minute."""
        ...

    def read(self, text: str) -> Ticket:
        """Raises TicketInvalid and TicketExpired."""
        ...
