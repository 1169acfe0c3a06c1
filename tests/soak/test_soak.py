"""A short soak: `python -m tests.soak` is the long one."""

from __future__ import annotations

from pathlib import Path

from tests.soak.run import soak


def test_nothing_is_lost_run_twice_or_wrong_while_processes_are_killed(tmp_path: Path) -> None:
    report = soak(tmp_path / "home", jobs=24, kills=4, seed=5, say=print, at_once=False)
    assert report.kills.total() == 4
    assert report.starts >= 12
    assert report.faults == []
