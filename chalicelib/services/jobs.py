"""Reading, stopping and deleting jobs on a caller's behalf.

Stopping and deleting only write what is wanted; the table's stream and the periodic pass make it so.
"""

from __future__ import annotations

from dataclasses import replace

from chalicelib.domain.job import Job, Reason
from chalicelib.domain.states import Status
from chalicelib.errors import JobFinished, JobNotFound, StaleRecord, StoreUnavailable
from chalicelib.services.caller import Caller
from chalicelib.services.ports import Clock, JobPage, JobStore, ListQuery, RequestTrace

WRITE_ATTEMPTS = 5


class Jobs:
    """What callers do with jobs that exist. Another tenant's job, or a deleted one, is JobNotFound."""

    def __init__(self, store: JobStore, clock: Clock, trace: RequestTrace = lambda: None) -> None:
        self._store = store
        self._clock = clock
        self._trace = trace

    def get(self, caller: Caller, job_id: str) -> Job:
        job = self._store.get(job_id)
        if job is None or job.is_deleted or not caller.sees(job.tenant):
            raise JobNotFound(job_id)
        return job

    def list(self, caller: Caller, query: ListQuery) -> JobPage:
        """A page of the caller's jobs; the query's tenant is replaced by what the caller may see."""
        return self._store.list(replace(query, tenant=caller.scope))

    def stop(self, caller: Caller, job_id: str) -> Job:
        """Ask for the job to end. Asking again changes nothing. Raises JobFinished once it has ended."""
        caller.require_write()
        for _ in range(WRITE_ATTEMPTS):
            job = self.get(caller, job_id)
            if job.status == Status.STOPPING:
                return job
            if job.is_terminal:
                raise JobFinished(job.id, job.status)
            stopping = job.changed(
                self._clock(),
                status=Status.STOPPING,
                reason=Reason.STOP_REQUESTED,
                message=f"stop requested by {caller.subject}",
                trace=self._trace(),
            )
            if self._saved(stopping, job):
                return stopping
        raise StoreUnavailable(f"{job_id} kept changing while it was to be stopped")

    def delete(self, caller: Caller, job_id: str) -> None:
        """Hide the job from now on; an active one is stopped, and what it left in the cluster is removed."""
        caller.require_write()
        for _ in range(WRITE_ATTEMPTS):
            job = self.get(caller, job_id)
            now = self._clock()
            ending = {} if job.is_terminal or job.status == Status.STOPPING else {"status": Status.STOPPING}
            tombstone = job.changed(
                now,
                **ending,
                deleted_at=now,
                reason=Reason.DELETE_REQUESTED,
                message=f"deletion requested by {caller.subject}",
                trace=self._trace(),
            )
            if self._saved(tombstone, job):
                return
        raise StoreUnavailable(f"{job_id} kept changing while it was to be deleted")

    def _saved(self, job: Job, was: Job) -> bool:
        try:
            self._store.save(job, was)
        except StaleRecord:
            return False
        return True
