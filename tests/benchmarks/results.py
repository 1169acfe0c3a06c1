"""A row of the table of docs/performance.md: what was measured, beside what, whether it reaches its goal."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

MAKE_BENCH = "make bench"
NOTHING = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`ratio` is to `raw`, what the backend alone does in the same run; `met` None: there is no goal.

    `notes` say what else was measured on the way."""

    what: str
    figure: str
    raw: str = NOTHING
    ratio: float | None = None
    goal: str = NOTHING
    met: bool | None = None
    notes: Sequence[str] = ()


def table(results: Sequence[Result]) -> str:
    """The results in Markdown, their notes below."""
    lines = ["| | Trainyard | beside it | ratio | goal | met |", "|---|---|---|---|---|---|"]
    for each in results:
        ratio = NOTHING if each.ratio is None else f"{each.ratio:.2f}"
        met = NOTHING if each.met is None else "yes" if each.met else "**no**"
        lines.append(f"| {each.what} | {each.figure} | {each.raw} | {ratio} | {each.goal} | {met} |")
    notes = [f"- {each.what}: {note}" for each in results for note in each.notes]
    return "\n".join([*lines, "", *notes] if notes else lines)


def machine(now: datetime | None = None) -> str:
    """When and where it was measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    busy = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return (
        f"{(now or datetime.now(UTC)):%Y-%m-%d}, {os.cpu_count()} cores of {_processor()}, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"botocore {version('botocore')}; load at the end {busy}."
    )


def write(page: Path, text: str, marker: str = MAKE_BENCH) -> None:
    """Put `text` between the page's markers of that name."""
    begin, end = f"<!-- {marker}: begin -->", f"<!-- {marker}: end -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{page} has no {begin} … {end}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{platform.machine()} ({names[0]})" if names else platform.machine()
