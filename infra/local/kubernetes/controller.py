"""Controllers look at one thing at a time and may look again: a queue of keys, each there once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
log = logging.getLogger(__name__)
FIRST_RETRY, LONGEST_RETRY = 0.1, 30.0
TURN = 0.005  # seconds until requests are let in: with one key a turn they leave the controllers far behind


class Controller(Generic[K]):
    """Calls `reconcile(key)`, which answers after how many seconds to look again, if at all."""

    def __init__(self, name: str, reconcile: Callable[[K], float | None]) -> None:
        self._name = name
        self._reconcile = reconcile
        self._queue: dict[K, None] = {}
        self._ready = asyncio.Event()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=self._name)

    def stop(self) -> None:
        if self._task:
            self._task.cancel()
        for timer in self._timers.values():
            timer.cancel()

    def enqueue(self, key: K) -> None:
        self._queue[key] = None
        self._ready.set()

    def _later(self, key: K, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        old, due = self._timers.pop(key, None), loop.time() + seconds
        if old is not None:
            old.cancel()
        self._timers[key] = loop.call_at(due, self._due, key)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.enqueue(key)

    async def _run(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            await self._ready.wait()
            until = now() + TURN
            while self._queue:
                key = next(iter(self._queue))
                del self._queue[key]
                self._once(key)
                if now() > until:
                    await asyncio.sleep(0)  # let requests in between
                    until = now() + TURN
            self._ready.clear()

    def _once(self, key: K) -> None:
        try:
            again = self._reconcile(key)
        except Exception:
            self._failures[key] = self._failures.get(key, 0) + 1
            log.exception("%s: %s failed; it is tried again", self._name, key)
            self._later(key, min(FIRST_RETRY * 2.0 ** self._failures[key], LONGEST_RETRY))
            return
        self._failures.pop(key, None)
        if again is not None:
            self._later(key, again)
