"""The same work on Ray, on Slurm and on Trainyard's embedded stack, one after another in one run.

    make bench-peers [QUICK=1]

It installs the peers beside Trainyard, runs in a network and a process table of its own, and prints one table
in Markdown. A peer that cannot be installed or started here is told of and left out: Slurm wants root.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.peers import installs, sandbox, work
from tests.benchmarks.peers.on_ray import Ray
from tests.benchmarks.peers.on_slurm import Slurm
from tests.benchmarks.peers.on_trainyard import Trainyard
from tests.benchmarks.peers.system import NotAvailable, System

MODULE = "tests.benchmarks.peers"
MAKERS: Mapping[str, Callable[[Path], System]] = {
    "ray": lambda folder: Ray(installs.ray(), folder),
    "slurm": lambda folder: Slurm(installs.slurm(), folder),
    "trainyard": Trainyard,
}
INSTALLERS: Mapping[str, Callable[[], object]] = {"ray": installs.ray, "slurm": installs.slurm}


def main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little of everything, to see that it works")
    parser.add_argument("--only", choices=MAKERS, action="append", help="leave the others out")
    parser.add_argument(sandbox.INSIDE, action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    wanted = given.only or list(MAKERS)
    if not given.inside:
        present = [f"--only={name}" for name in wanted if _is_installed(name)]
        if not present:
            sys.exit("nothing is left to measure")
        sandbox.enter(MODULE, [*(["--quick"] if given.quick else []), *present])
    sandbox.settle_in()
    sizes = work.QUICK if given.quick else work.Sizes()
    found = run(wanted, sizes)
    if not found:
        sys.exit("nothing was measured")
    print(table(found, sizes))


def run(wanted: Sequence[str], sizes: work.Sizes) -> dict[System, work.Figures]:
    """Each has the machine for itself."""
    found: dict[System, work.Figures] = {}
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True) as folder:
            system = MAKERS[name](Path(folder))
            system.load = os.getloadavg()[0]
            tell(f"{system.name}: starting (load {system.load:.1f})")
            try:
                system.start()
                found[system] = work.measure(system, Path(folder), sizes, tell)
            except (NotAvailable, TimeoutError) as error:
                tell(f"{system.name} is left out: {error}{_ends_of_logs(Path(folder))}")
            finally:
                system.stop()
                sandbox.end_all()
    return found


def table(found: Mapping[System, work.Figures], sizes: work.Sizes) -> str:
    ours = next((figures for system, figures in found.items() if isinstance(system, Trainyard)), {})
    peers = [figures for system, figures in found.items() if not isinstance(system, Trainyard)]
    names = [system.name for system in found if not isinstance(system, Trainyard)]
    head = ["", *(system.name for system in found), *([f"Trainyard ÷ {', ÷ '.join(names)}"] if names else [])]
    lines = [_row(head), "|---" * len(head) + "|"]
    for key, title in work.rows(sizes).items():
        cells = [figures[key].text if key in figures else "–" for figures in found.values()]
        ratios = [_ratio(ours.get(key), theirs.get(key)) for theirs in peers]
        lines.append(_row([title, *cells, *([", ".join(ratios)] if names else [])]))
    told = [f"{system.name} {system.version} (load {system.load:.1f} at its start)" for system in found]
    machine = f"{os.cpu_count()} cores, Python {sys.version.split()[0]}"
    lines += ["", ", ".join([f"{datetime.now(UTC):%Y-%m-%d}", machine, *told]) + "."]
    return "\n".join(lines)


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _ends_of_logs(folder: Path) -> str:
    return "".join(f"\n{log.name}: {log.read_text()[-1000:]}" for log in folder.glob("*.log"))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ratio(ours: work.Figure | None, theirs: work.Figure | None) -> str:
    if not (ours and theirs and ours.value and theirs.value):
        return "–"
    ratio = ours.value / theirs.value
    return f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"


def _is_installed(name: str) -> bool:
    if name not in INSTALLERS:
        return True
    tell(f"{name}: installing, if it is not")
    try:
        INSTALLERS[name]()
    except NotAvailable as error:
        tell(f"{name} is left out: {error}")
        return False
    return True


if __name__ == "__main__":
    main()
