"""Counts what lists, the sync, followers of logs and the table take as the number of jobs grows.

    python -m tests.benchmarks.growth [--quick] [--write]

On the proof's simulation, as tests.benchmarks.calls: nothing is timed, and each run counts the same. It takes
three minutes of a processor and 3 GB.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence

from infra.local.config import REPO
from tests.benchmarks.growth import follow, lists, sync, table
from tests.benchmarks.growth.tables import Row, grown
from tests.benchmarks.results import write

PAGE = REPO / "docs" / "performance.md"
MARKER = "growth"
JOBS = (100, 1000, 10_000, 100_000)
VIEWERS = (1, 10, 100, 1000)
QUICK = 2  # of the numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few jobs: to see that it works")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    given = parser.parse_args()
    if given.write and given.quick:
        parser.error("--write is for all numbers: without --quick")
    gc.disable()  # it would go over millions of objects again and again, none of them to be freed
    text = tables(*(numbers[:QUICK] if given.quick else numbers for numbers in (JOBS, VIEWERS)))
    print(text)
    if given.write:
        write(PAGE, text, MARKER)


def tables(jobs: Sequence[int], viewers: Sequence[int]) -> str:
    """All of them in Markdown."""
    life = table.life()
    into_all = (
        f"To its end a job's record makes {sum(step.into_all for step in life)} writes to the index `all`."
    )
    return "\n\n".join(
        [
            grown([*_rows(lists.rows, jobs), *_rows(sync.rows, jobs), *_rows(table.rows, jobs)], "jobs"),
            grown(_rows(follow.rows, viewers), "viewers, a minute"),
            table.markdown([*life, *table.stopped_and_deleted()]),
            into_all,
        ]
    )


def _rows(of: Callable[[int], Sequence[Row]], numbers: Sequence[int]) -> Sequence[Row]:
    found: list[Row] = []
    for number in numbers:
        began = time.monotonic()
        found += of(number)
        print(f"{of.__module__} of {number:,}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    main()
