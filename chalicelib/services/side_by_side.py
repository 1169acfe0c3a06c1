"""Does the same for several things at a time, where each mostly waits for an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from chalicelib.services.ports import R, T


class SideBySide:
    """services.ports.Together in `most` threads, which end with each call: between two calls of a Lambda
    function everything stands still, and nothing is to be in the middle of anything."""

    def __init__(self, most: int) -> None:
        self._most = most

    def __call__(self, do: Callable[[T], R], each: Sequence[T], /) -> Iterable[R]:
        if len(each) < 2:
            return [do(one) for one in each]
        with ThreadPoolExecutor(min(self._most, len(each))) as threads:
            return list(threads.map(do, each))
