"""Carries records out as the table's stream brings them: submits, stops, cleans up.

One job's trouble holds no other back and is not forgotten: what could not be done now stays in the record,
and the periodic pass, woken here, tries it again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial

from chalicelib.domain.job import Job
from chalicelib.errors import ClusterRejected, ClusterUnavailable, Retryable
from chalicelib.services.ports import CREATED_TOGETHER, Clock, JobStore, JobTrace, Kick, Together
from chalicelib.services.reconcile import Reconciler, is_to_be_submitted, untraced
from chalicelib.services.sync import LEASE

log = logging.getLogger(__name__)

PORTION = CREATED_TOGETHER  # records that are read at once, and saved once they are submitted
# For so long a record may be acted upon: domain.decide.SUBMISSION_LASTS counts from what was read last.
GOOD_FOR = timedelta(seconds=1)


class Outbox:
    """Works a batch of changed records off, each within the trace of the request that changed it. Several are
    worked off at a time if `together` does so."""

    def __init__(
        self,
        reconciler: Reconciler,
        store: JobStore,
        kick: Kick,
        clock: Clock,
        trace: JobTrace = untraced,
        together: Together = map,
    ) -> None:
        self._reconciler = reconciler
        self._store = store
        self._kick = kick
        self._clock = clock
        self._trace = trace
        self._together = together

    def deliver(self, job_ids: Iterable[str]) -> list[str]:
        """Work each job off. Returns those that must be delivered again, because not even their record
        could be read; the others are done or left to the pass."""
        wanted = list(dict.fromkeys(job_ids))
        down: set[str] = set()
        failed: list[str] = []
        for start in range(0, len(wanted), PORTION):
            failed += self._deliver(wanted[start : start + PORTION], down)
        try:
            if self._store.lease_is_free(LEASE, self._clock()):
                self._kick()
        except Retryable as error:
            log.warning("the pass is left to its rule: %s", error)
        return failed

    def _deliver(self, job_ids: Sequence[str], down: set[str]) -> list[str]:
        good_until = self._clock() + GOOD_FOR
        read = self._read(job_ids)
        submitted: list[tuple[Job, Job]] = []

        def is_done(job_id: str) -> bool:
            job = read.get(job_id) if self._clock() < good_until else None
            if job is None or not is_to_be_submitted(job):
                return self._delivered(
                    job_id, lambda: self._reconciler.work_off(job_id, down, self._trace, job)
                )
            return self._delivered(
                job_id, lambda: submitted.append((self._reconciler.submit(job, down, self._trace), job))
            )

        done = dict(zip(job_ids, self._together(is_done, job_ids), strict=True))
        for job in self._unsaved(submitted):
            # What is in the way of its record is found out alone; that it is created already does no harm.
            done[job.id] = self._delivered(
                job.id, partial(self._reconciler.work_off, job.id, down, self._trace, job)
            )
        return [job_id for job_id in job_ids if not done[job_id]]

    def _unsaved(self, submitted: Sequence[tuple[Job, Job]]) -> Sequence[Job]:
        """Save what became of them. Those that could not be saved, as they were before."""
        try:
            are_saved = self._store.save_many(submitted)
        except Exception:
            log.exception("%d records are saved one by one", len(submitted))
            return [was for _, was in submitted]
        return [was for (_, was), is_saved in zip(submitted, are_saved, strict=True) if not is_saved]

    def _read(self, job_ids: Sequence[str]) -> Mapping[str, Job]:
        """One that cannot be read must not be in the others' way: then each is read alone."""
        if len(job_ids) < 2:
            return {}
        try:
            return self._store.get_many(job_ids)
        except Exception:
            log.exception("%d records are read one by one", len(job_ids))
            return {}

    def _delivered(self, job_id: str, work: Callable[[], None]) -> bool:
        try:
            work()
        except (ClusterUnavailable, ClusterRejected) as error:
            log.warning("%s is left to the pass: %s", job_id, error, extra={"job_id": job_id})
        except Exception:
            log.exception("%s could not be worked off", job_id, extra={"job_id": job_id})
            return False
        return True
