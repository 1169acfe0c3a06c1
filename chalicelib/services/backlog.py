"""Which new records the sync leaves to the outbox: two at once at the same job do the work twice."""

from __future__ import annotations

from collections.abc import Iterable, Set
from datetime import datetime

from chalicelib.domain.job import Job, Reason
from chalicelib.domain.repair import IN_TIME
from chalicelib.services.reconcile import is_to_be_submitted


class Backlog:
    """The records that nobody has tried to submit, from one sweep to the next. No clock says whether the
    outbox is dead or only has much to do: it is taken for dead when it came to none of them in between."""

    def __init__(self) -> None:
        self._waiting: Set[str] = frozenset()
        self._overdue: Set[str] = frozenset()

    def seen(self, jobs: Iterable[Job]) -> None:
        """All that wait now, at the beginning of a sweep."""
        untried = {job.id for job in jobs if _is_untried(job)}
        stands_still = self._waiting <= untried
        self._overdue = self._waiting if stands_still else frozenset()
        self._waiting = untried - self._overdue

    def leaves(self, job: Job, now: datetime) -> bool:
        """Whether the job is the outbox's. None is for longer than it may take: its record in the stream may
        be the one that was lost."""
        return _is_untried(job) and job.id not in self._overdue and now - job.updated_at < IN_TIME


def _is_untried(job: Job) -> bool:
    """Whoever tries in vain writes why."""
    return is_to_be_submitted(job) and job.reason == Reason.ACCEPTED
