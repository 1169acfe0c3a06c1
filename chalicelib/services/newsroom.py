"""Follows several watches side by side, a thread each, and hands what they tell to one reader.

A reader who cannot keep up has so much before him and no more: what a cluster tells beyond that stays unread,
and what it forgets meanwhile is listed, as after any broken watch.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, Full, Queue

from chalicelib.errors import ClusterRejected, ClusterUnavailable
from chalicelib.services.cluster_ports import Follow, Learn

log = logging.getLogger(__name__)

MOST = 1_000  # news that wait for their reader: one of a pod has some 15 KB
SLICE_SECONDS = 5.0  # a watch is opened anew that often: so long an end may have to wait for its thread
PAUSE_SECONDS = 1.0  # after trouble
SHORT_SECONDS = 0.2  # a watch that ends sooner is not opened at once again


class Newsroom:
    """Runs from its making until `close`."""

    def __init__(self, follows: Sequence[Follow]) -> None:
        self._news: Queue[Learn] = Queue(MOST)
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(one,), daemon=True) for one in follows]
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> list[Learn]:
        """What was told, as soon as there is any; nothing after so many seconds."""
        news: list[Learn] = []
        with suppress(Empty):
            news.append(self._news.get(timeout=seconds))
            while len(news) < MOST:
                news.append(self._news.get_nowait())
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
                    if not self._put(learn):
                        return
            except (ClusterUnavailable, ClusterRejected) as error:
                log.warning("a watch: %s", error)
                self._closing.wait(PAUSE_SECONDS)
            except Exception:
                log.exception("a watch broke off")
                self._closing.wait(PAUSE_SECONDS)
            if time.monotonic() - began < SHORT_SECONDS:
                self._closing.wait(SHORT_SECONDS)

    def _put(self, learn: Learn) -> bool:
        """Once there is room for it; False when it closes."""
        while not self._closing.is_set():
            with suppress(Full):
                self._news.put(learn, timeout=SHORT_SECONDS)
                return True
        return False
