"""Follows several watches side by side, a thread each, and hands what they tell to one reader."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from chalicelib.errors import ClusterRejected, ClusterUnavailable
from chalicelib.services.cluster_ports import Follow, Learn

log = logging.getLogger(__name__)

SLICE_SECONDS = 5.0  # a watch is opened anew that often: so long an end may have to wait for its thread
PAUSE_SECONDS = 1.0  # after trouble
SHORT_SECONDS = 0.2  # a watch that ends sooner is not opened at once again


class Newsroom:
    """Runs from its making until `close`."""

    def __init__(self, follows: Sequence[Follow]) -> None:
        self._news: SimpleQueue[Learn] = SimpleQueue()
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(one,), daemon=True) for one in follows]
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> list[Learn]:
        """All that was told, as soon as there is any; nothing after so many seconds."""
        news: list[Learn] = []
        try:
            news.append(self._news.get(timeout=seconds))
            while True:
                news.append(self._news.get_nowait())
        except Empty:
            return news

    def close(self) -> None:
        self._closing.set()

    def join(self) -> None:
        """Wait for the threads to end, after `close`."""
        until = time.monotonic() + SLICE_SECONDS + PAUSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, follow: Follow) -> None:
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                for learn in follow(SLICE_SECONDS):
                    self._news.put(learn)
                    if self._closing.is_set():
                        return
            except (ClusterUnavailable, ClusterRejected) as error:
                log.warning("a watch: %s", error)
                self._closing.wait(PAUSE_SECONDS)
            except Exception:
                log.exception("a watch broke off")
                self._closing.wait(PAUSE_SECONDS)
            if time.monotonic() - began < SHORT_SECONDS:
                self._closing.wait(SHORT_SECONDS)
