"""Who leads: the lease of the sync function, in the eyes of one run that asks for it and keeps it."""

from __future__ import annotations

from datetime import datetime, timedelta

from chalicelib.services.ports import Clock, JobStore


class Leading:
    """`lasts` is how long the lease outlives its holder's last sign of life."""

    def __init__(self, store: JobStore, name: str, holder: str, lasts: timedelta, clock: Clock) -> None:
        self._store = store
        self._name = name
        self._holder = holder
        self._lasts = lasts
        self._clock = clock
        self._renewed_at: datetime | None = None

    def goes_on(self) -> bool:
        """Renews the lease when a quarter of it is over; in between, each write finds out."""
        is_fresh = self._renewed_at and self._clock() - self._renewed_at < self._lasts / 4
        return bool(is_fresh) or self.renew()

    def renew(self) -> bool:
        """Take it, or renew it; False while somebody else has it."""
        now = self._clock()
        if not self._store.acquire_lease(self._name, self._holder, now, self._lasts):
            return False
        self._renewed_at = now
        return True

    def is_vacant(self) -> bool:
        """Whether nobody leads. To ask that is a read, a fifth of what a renewal in vain costs."""
        return self._store.lease_is_free(self._name, self._clock())

    def end(self) -> None:
        self._store.release_lease(self._name, self._holder)
