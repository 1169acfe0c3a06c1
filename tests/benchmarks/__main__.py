"""Measures what docs/performance.md shows, each row beside what its backend does alone, and prints one table.
Below it: what each operation asks of AWS and Kubernetes, counted.

    make bench
    python -m tests.benchmarks [--rows create,list] [--quick] [--write]

Each row brings up a stack of its own, as `make up` does, and removes it. Ratios count; milliseconds are this
machine's.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence

from infra.local.config import REPO
from tests.benchmarks import create, imports, life, lists, logs, memory, repair, upload
from tests.benchmarks.calls import summary
from tests.benchmarks.results import Result, machine, table, write
from tests.benchmarks.sizes import QUICK, Sizes

FAILED = "failed"
PAGE = REPO / "docs" / "performance.md"
ROWS: Mapping[str, Callable[[Sizes], Sequence[Result]]] = {
    "create": create.one_client,
    "created": create.eight_clients,
    "life": life.one_by_one,
    "list": lists.lists,
    "tail": logs.tail,
    "follow": logs.follow,
    "upload": upload.one_file,
    "repair": repair.one_pass,
    "imports": imports.cold,
    "memory": memory.idle,
}
CALLS = "calls"  # counted on a simulation, below the table


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rows", default=",".join([*ROWS, CALLS]), help="some of %(default)s")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    given = parser.parse_args()
    names = given.rows.split(",")
    if given.write and (given.quick or set(names) != {*ROWS, CALLS}):
        parser.error("--write is for the whole table: without --rows and --quick")
    if unknown := [name for name in names if name not in (*ROWS, CALLS)]:
        parser.error(f"no row {', '.join(unknown)}: there are {', '.join(ROWS)}, {CALLS}")
    sizes = QUICK if given.quick else Sizes()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the stack that runs is removed
    results = [result for name in names if name in ROWS for result in _measured(name, sizes)]
    parts = [f"{machine()}{' Small sizes.' if given.quick else ''}"]
    parts += [table(results)] if results else []
    parts += [summary.summary()] if CALLS in names else []
    text = "\n\n".join(parts)
    print(text)
    if given.write:
        write(PAGE, text)
    return int(any(result.figure == FAILED for result in results))


def _measured(name: str, sizes: Sizes) -> Sequence[Result]:
    """One row's trouble is not the others'."""
    began = time.monotonic()
    print(f"{name}: …", file=sys.stderr, flush=True)
    try:
        results = ROWS[name](sizes)
    except Exception as error:  # noqa: BLE001 (told in the table, and by the exit code)
        traceback.print_exc()
        return [Result(what=name, figure=FAILED, met=False, notes=[f"{type(error).__name__}: {error}"])]
    print(f"{name}: {time.monotonic() - began:.0f} s\n{table(results)}", file=sys.stderr, flush=True)
    return results


if __name__ == "__main__":
    sys.exit(main())
