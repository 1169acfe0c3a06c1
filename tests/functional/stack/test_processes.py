"""Starting, finding and stopping processes by their pid files."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import processes
from infra.local.processes import Component

READY_THEN_WAIT = "import time; print('ready', flush=True); time.sleep(600)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY_THEN_WAIT}"


def sleeper(tmp_path: Path, script: str = READY_THEN_WAIT, env: dict[str, str] | None = None) -> Component:
    log = tmp_path / "sleeper.log"
    return Component(
        name="sleeper",
        argv=(sys.executable, "-c", script),
        env=env or {},
        is_ready=lambda: log.exists() and "ready" in log.read_text(),
    )


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    processes.stop(tmp_path, "sleeper", 0.1)


def started(run: Path, component: Component) -> processes.Process:
    process = processes.start(component, run, run)
    assert processes.wait_until(component.is_ready, 10)
    return process


def test_a_started_process_is_found_and_stopped(run: Path) -> None:
    process = started(run, sleeper(run))
    assert processes.find(run, "sleeper") == process
    assert processes.stop(run, "sleeper", 10) is False
    assert not process.is_alive
    assert processes.find(run, "sleeper") is None


def test_a_process_that_does_not_listen_is_killed(run: Path) -> None:
    process = started(run, sleeper(run, DEAF))
    assert processes.stop(run, "sleeper", 0.3) is True
    assert not process.is_alive


def test_a_pid_that_belongs_to_somebody_else_by_now_is_left_alone(run: Path) -> None:
    process = started(run, sleeper(run))
    file = run / "sleeper.pid"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"started": "another-boot/1"}))
    assert processes.find(run, "sleeper") is None
    processes.stop(run, "sleeper", 1)
    assert process.is_alive
    file.write_text(json.dumps(record))


def test_a_dead_process_is_not_found_even_before_it_is_reaped(run: Path) -> None:
    process = started(run, sleeper(run))
    os.kill(process.pid, signal.SIGKILL)
    assert processes.wait_until(lambda: processes.find(run, "sleeper") is None, 10)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', "null"])
def test_a_pid_file_that_makes_no_sense_is_no_process(tmp_path: Path, content: str) -> None:
    (tmp_path / "sleeper.pid").write_text(content)
    assert processes.find(tmp_path, "sleeper") is None


def test_only_what_a_process_is_told_changes_its_fingerprint(tmp_path: Path) -> None:
    plain = sleeper(tmp_path, env={"HOME": "/a"})
    assert plain.fingerprint == sleeper(tmp_path, env={"HOME": "/b"}).fingerprint
    assert plain.fingerprint != sleeper(tmp_path, env={"TRAINYARD_PORT": "1"}).fingerprint
    assert plain.fingerprint != sleeper(tmp_path, DEAF, env={"HOME": "/a"}).fingerprint
