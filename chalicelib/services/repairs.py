"""Tells of what was repaired: as a metric, among the job's own events, and on the bus of state changes.

Told after it is done, and never in its way: the bus is told when the pass has time, and again while it does
not answer. What a process has not told by its end is never told, and what the bus took without an answer is
told twice. The repair itself is in the record and the cluster either way.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from chalicelib.domain.repair import Repaired
from chalicelib.errors import BusUnavailable, StoreUnavailable
from chalicelib.services.ports import Clock, JobStore, Meter, RepairBus

log = logging.getLogger(__name__)

TOGETHER = 10  # EventBridge's own limit for one call
PAUSE = timedelta(seconds=30)  # after the bus did not answer, which has cost the pass some seconds
PATIENCE = timedelta(hours=1)  # with a bus that does not take an event


class Repairs:
    """What one process repaired."""

    def __init__(self, store: JobStore, meter: Meter, bus: RepairBus, clock: Clock) -> None:
        self._store = store
        self._meter = meter
        self._bus = bus
        self._clock = clock
        self._untold: list[Repaired] = []
        self._not_before: datetime | None = None

    def note(self, repaired: Repaired, *, has_callers: bool) -> None:
        """It was made. Raises LeaseLost."""
        self._meter(repaired)
        self._untold.append(repaired)
        if has_callers:
            try:
                self._store.add_event(repaired.job_id, repaired.event)
            except StoreUnavailable as error:
                about = {"job_id": repaired.job_id, "tenant": repaired.tenant}
                log.warning("%s is not told of its repair: %s", repaired.job_id, error, extra=about)

    def publish(self) -> None:
        """Tell the bus what it has not been told yet. Nothing to tell is fine, and costs nothing."""
        now = self._clock()
        if not self._untold or (self._not_before and now < self._not_before):
            return
        refused: list[Repaired] = []
        try:
            while self._untold:
                together = self._untold[:TOGETHER]
                taken = self._bus(together)
                refused += [one for one, is_taken in zip(together, taken, strict=True) if not is_taken]
                self._untold = self._untold[TOGETHER:]
        except BusUnavailable as error:
            log.warning("repairs cannot be told: %s", error)
        self._untold = [one for one in refused + self._untold if now - one.at < PATIENCE]
        if self._untold:
            self._not_before = now + PAUSE
            log.warning("%d repairs will be told later", len(self._untold))
