"""Workers that take turns on a simulated clock: one runs at a time, and only where it waits may another.

So every run of a simulation is the same as the one before, and a worker can be killed, or stand still, at any
call that it makes. Workers are threads because the code under test blocks where it waits.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from tests.builders import NOW


class Killed(BaseException):
    """The process ends here: nothing of ours may catch it."""


class Worker:
    """A process for one piece of work. `dead`: nothing that it still tries has any effect."""

    def __init__(self, name: str, work: Callable[[], Any], then: Callable[[Worker], None]) -> None:
        self.name = name
        self.then = then
        self.dead = False
        self.stood_still = False  # in the middle of a call
        self.is_over = False
        self.answer: Any = None
        self.error: Exception | None = None
        self._work = work
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def resume(self) -> None:
        """Let it run until it waits again or ends."""
        if not self._thread.ident:
            self._thread.start()
        self._go.release()
        self._stopped.acquire()

    def stand_still(self) -> None:
        """Called by the worker's own thread."""
        self._stopped.release()
        self._go.acquire()
        if self.dead:
            raise Killed

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self.dead:
                self.answer = self._work()
        except Killed:
            self.dead = True
        except Exception as error:  # noqa: BLE001 (what a Lambda would log)
            self.error = error
        finally:
            self.is_over = True
            self._stopped.release()


def _nothing(_: Worker) -> None:
    return


class Scheduler:
    """The clock, and what is to happen when: at one time, in the order in which it was asked for."""

    def __init__(self) -> None:
        self.now = NOW
        self.running: Worker | None = None
        self.workers: list[Worker] = []
        self._agenda: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def clock(self) -> datetime:
        return self.now

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now + timedelta(seconds=seconds), next(self._order), act))

    def start(self, name: str, work: Callable[[], Any], then: Callable[[Worker], None] = _nothing) -> Worker:
        """A worker, that begins as soon as there is a turn; `then` hears of its end."""
        worker = Worker(name, work, then)
        self.workers.append(worker)
        self.after(0, lambda: self._turn(worker))
        return worker

    def kill(self, worker: Worker) -> None:
        """Wherever it waits right now."""
        if not worker.is_over:
            worker.dead = True
            self._turn(worker)

    def sleep(self, seconds: float) -> None:
        """Of the worker that runs now."""
        worker = self.running
        if worker is None:
            raise RuntimeError("only workers sleep")
        if worker.dead:
            raise Killed
        self.after(max(0.0, seconds), lambda: self._turn(worker))
        worker.stand_still()

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let so much time pass, or less if `until` says so; whether it did."""
        end = self.now + timedelta(seconds=seconds)
        while not until():
            if not self._agenda or self._agenda[0][0] > end:
                self.now = end
                return until()
            self.now, _, act = heapq.heappop(self._agenda)
            act()
        return True

    def close(self) -> None:
        for worker in list(self.workers):
            self.kill(worker)

    def _turn(self, worker: Worker) -> None:
        if worker.is_over:
            return
        before, self.running = self.running, worker
        worker.resume()
        self.running = before
        if worker.is_over:
            self.workers.remove(worker)
            worker.then(worker)
