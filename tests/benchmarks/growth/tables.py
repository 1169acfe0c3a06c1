"""A figure of so many jobs, and tables of them in Markdown: a row for each work, a column for each number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.benchmarks.calls.summary import short


@dataclass(frozen=True, slots=True)
class Row:
    """What `what` takes where there are `number` of them."""

    what: str
    number: int
    figures: Mapping[str, float]


def grown(rows: Sequence[Row], head: str) -> str:
    """Each work's figures, a line each, but for those that are 0 at every number."""
    numbers = sorted({row.number for row in rows})
    lines = [f"| {head} | | {' | '.join(f'{number:,}' for number in numbers)} |"]
    lines.append("|---" * (len(numbers) + 2) + "|")
    for what in dict.fromkeys(row.what for row in rows):
        of = {row.number: row.figures for row in rows if row.what == what}
        for name in of[numbers[0]]:
            cells = [short(of[number][name]) for number in numbers]
            if set(cells) == {"0"}:
                continue
            if len(set(cells)) == 1:
                cells = [cells[0], *["the same"] * (len(cells) - 1)]
            lines.append(f"| {what} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
