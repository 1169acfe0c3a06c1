"""Carries records out as the table's stream brings them: submits, stops, cleans up.

One job's trouble holds no other back and is not forgotten: what could not be done now stays in the record,
and the periodic pass, woken here, tries it again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from chalicelib.errors import ClusterRejected, ClusterUnavailable, Retryable
from chalicelib.services.ports import Clock, JobStore, JobTrace, Kick
from chalicelib.services.reconcile import Reconciler, untraced
from chalicelib.services.sync import LEASE

log = logging.getLogger(__name__)


class Outbox:
    """Works a batch of changed records off, each within the trace of the request that changed it."""

    def __init__(
        self,
        reconciler: Reconciler,
        store: JobStore,
        kick: Kick,
        clock: Clock,
        trace: JobTrace = untraced,
    ) -> None:
        self._reconciler = reconciler
        self._store = store
        self._kick = kick
        self._clock = clock
        self._trace = trace

    def deliver(self, job_ids: Iterable[str]) -> list[str]:
        """Work each job off. Returns those that must be delivered again, because not even their record
        could be read; the others are done or left to the pass."""
        down: set[str] = set()
        failed = [job_id for job_id in dict.fromkeys(job_ids) if not self._delivered(job_id, down)]
        try:
            if self._store.lease_is_free(LEASE, self._clock()):
                self._kick()
        except Retryable as error:
            log.warning("the pass is left to its rule: %s", error)
        return failed

    def _delivered(self, job_id: str, down: set[str]) -> bool:
        try:
            self._reconciler.work_off(job_id, down, self._trace)
        except (ClusterUnavailable, ClusterRejected) as error:
            log.warning("%s is left to the pass: %s", job_id, error, extra={"job_id": job_id})
        except Exception:
            log.exception("%s could not be worked off", job_id, extra={"job_id": job_id})
            return False
        return True
