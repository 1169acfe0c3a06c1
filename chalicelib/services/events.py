"""What happened to a caller's job, from the table alone: also while its cluster is down, or has forgotten."""

from __future__ import annotations

from chalicelib.domain.events import merged
from chalicelib.services.caller import Caller
from chalicelib.services.jobs import Jobs
from chalicelib.services.ports import EventPage, JobStore


class Events:
    """The events of the caller's jobs."""

    def __init__(self, jobs: Jobs, store: JobStore) -> None:
        self._jobs = jobs
        self._store = store

    def page(self, caller: Caller, job_id: str, limit: int, after: str | None) -> EventPage:
        """At most `limit` events behind the position `after`, oldest first; the same one is there only once.

        Raises JobNotFound.
        """
        self._jobs.get(caller, job_id)
        page = self._store.events(job_id, limit, after)
        return EventPage(merged(page.items), page.last)
