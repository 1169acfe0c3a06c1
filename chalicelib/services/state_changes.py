"""Tells of every job's moves, as the table's stream brings them: at least once, and in order per job."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from chalicelib.domain.state_change import StateChange
from chalicelib.errors import BusUnavailable
from chalicelib.services.ports import Bus, MoveMeter

log = logging.getLogger(__name__)

TOGETHER = 10  # EventBridge's own limit for one call


class StateChanges:
    """Publishes the changes of a batch, and counts those that the bus took: what it did not comes again."""

    def __init__(self, bus: Bus, meter: MoveMeter) -> None:
        self._bus = bus
        self._meter = meter

    def publish(self, changes: Sequence[StateChange]) -> int:
        """Publish them in their order. Returns how many are behind us: that one, if there is one, and all
        after it are to be published again, some of which may have been already."""
        done = 0
        for together in _rounds(changes):
            try:
                taken = self._bus(together)
            except BusUnavailable as error:
                log.warning("%d state changes will be published again: %s", len(changes) - done, error)
                return done
            for change, is_taken in zip(together, taken, strict=True):
                if not is_taken:
                    job = change.job
                    log.warning("the bus did not take %s v%d", job.id, job.version, extra=job.log_fields)
                    return done
                self._meter(change)
                done += 1
        return done


def _rounds(changes: Sequence[StateChange]) -> Iterator[Sequence[StateChange]]:
    """What may go in one call: no job twice, because the bus may refuse the first and take the second."""
    together: list[StateChange] = []
    for change in changes:
        if len(together) == TOGETHER or change.job.id in [other.job.id for other in together]:
            yield together
            together = []
        together.append(change)
    if together:
        yield together
