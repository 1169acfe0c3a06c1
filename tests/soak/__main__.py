"""Hundreds of jobs by API and S3 on a stack of its own, while its processes are killed at random.

    python -m tests.soak --jobs 300 --kills 30 --seed 1

It ends by itself: with 0 when nothing was lost, run twice or wrong. What is wrong is printed, and the stack's
folder, logs included, is kept then.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.soak.run import Report, soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="trainyard-soak-"))
    report = soak(home, given.jobs, given.kills, given.seed, lambda line: print(line, file=sys.stderr))
    print(table(report, given.seed))
    if report.faults:
        print(f"its folder is kept: {home}", file=sys.stderr)
        return 1
    shutil.rmtree(home)
    return 0


def table(report: Report, seed: int) -> str:
    rows = [
        ("seed", seed),
        ("jobs", report.jobs),
        ("  by API", report.jobs - report.uploaded),
        (f"  by S3, in {report.files} files", report.uploaded),
        ("kills", report.kills.total()),
        *((f"  {name}", count) for name, count in sorted(report.kills.items())),
        ("requests repeated by clients", report.retries),
        ("processes started", report.starts),
        ("jobs told of in full on the bus", report.told_in_full),
        *((kind, report.count(kind)) for kind in ("lost", "twice", "wrong")),
        ("seconds", round(report.seconds)),
    ]
    lines = [f"{what:34} {value:>6}" for what, value in rows]
    return "\n".join([*(f"{fault.kind}: {fault.text}" for fault in report.faults), *lines])


if __name__ == "__main__":
    sys.exit(main())
