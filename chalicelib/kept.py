"""A value that is dear to make and good for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from chalicelib.errors import ClusterUnavailable
from chalicelib.services.ports import Clock

T = TypeVar("T")

FAILURE_LASTS = timedelta(seconds=5)


class Kept(Generic[T]):
    """Calls `make` when there is no value yet or the last one is too old: one thread does, the others wait.
    What it fails with is kept too, for a moment."""

    def __init__(self, make: Callable[[], T], lasts: timedelta, clock: Clock) -> None:
        self._make = make
        self._lasts = lasts
        self._clock = clock
        self._lock = threading.Lock()
        self._made: T | ClusterUnavailable | None = None
        self._made_at = datetime.min.replace(tzinfo=UTC)

    def __call__(self) -> T:
        with self._lock:
            now = self._clock()
            lasts = FAILURE_LASTS if isinstance(self._made, ClusterUnavailable) else self._lasts
            if self._made is None or now - self._made_at >= lasts:
                self._made_at = now
                try:
                    self._made = self._make()
                except ClusterUnavailable as error:
                    self._made = error
            if isinstance(self._made, ClusterUnavailable):
                raise type(self._made)(str(self._made)) from self._made
            return self._made
