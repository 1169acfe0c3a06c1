"""Which new records the sync leaves to the outbox: two at once at the same job do the work twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from datetime import UTC, datetime, timedelta

from chalicelib.domain.job import Job, Reason
from chalicelib.domain.repair import IN_TIME
from chalicelib.services.reconcile import is_to_be_submitted

AGAIN = timedelta(seconds=0.25)  # how often those are come to again that a watch told of too early


class Backlog:
    """The records that nobody has tried to submit, from one sweep to the next. No clock says whether the
    outbox is dead or only has much to do: it is taken for dead when it came to none of them in between."""

    def __init__(self) -> None:
        self._waiting: Set[str] = frozenset()
        self._overdue: Set[str] = frozenset()
        self._early: defaultdict[str, set[str]] = defaultdict(set)
        self._early_at = datetime.min.replace(tzinfo=UTC)

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

    def told_early(self, pool_id: str, job_id: str) -> None:
        """A watch has told of what the outbox is about to write down, two dozen jobs at a time."""
        self._early[pool_id].add(job_id)

    def early(self, now: datetime) -> Mapping[str, Set[str]]:
        """Those that it told of too early, by pool; none if some were given a moment ago."""
        if now < self._early_at:
            return {}
        self._early_at = now + AGAIN
        early, self._early = self._early, defaultdict(set)
        return early

    def patience(self, usual: timedelta) -> timedelta:
        """How long the sync may wait for news."""
        return min(usual, AGAIN) if self._early else usual


def _is_untried(job: Job) -> bool:
    """Whoever tries in vain writes why."""
    return is_to_be_submitted(job) and job.reason == Reason.ACCEPTED
