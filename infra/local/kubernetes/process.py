"""One run of one container, known by its folder alone, so that a restarted cluster carries on with it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.local.kubernetes import procinfo
from infra.local.kubernetes.values import now, stamp

Obj = dict[str, Any]
_ROOT = Path(__file__).resolve().parents[3]
LOST: Obj = {
    "exitCode": 137,
    "signal": 9,
    "reason": "ContainerStatusUnknown",
    "orphaned": True,
    "message": "The container could not be located when the pod was terminated",
}


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs main(…) of one of our modules that start fast."""
    start = (
        f"import sys; sys.path.append({str(_ROOT)!r}); "
        f"from infra.local.kubernetes.{module} import main; main(*sys.argv[1:])"
    )
    return [sys.executable, "-I", "-S", "-c", start, *arguments]


class Process:
    """Folder: run.json (about to start), started (a shim has it), running.json, log, stop.json, exit.json."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def recorded(self) -> bool:
        return (self.directory / "run.json").exists()

    @property
    def running(self) -> Obj | None:
        return self._read("running.json")

    @property
    def exit(self) -> Obj | None:
        return self._read("exit.json")

    async def start(self, run: Obj) -> None:
        """Start, or find what was already started; back when it runs or has ended."""
        if not self.recorded:
            self.directory.mkdir(parents=True, exist_ok=True)
            (self.directory / "scratch").mkdir(exist_ok=True)
            write_json(self.directory / "run.json", {**run, "scratch": str(self.directory / "scratch")})
        if not (self.directory / "started").exists():
            with (self.directory / "shim.err").open("ab") as errors:
                shim = await asyncio.create_subprocess_exec(
                    *python("shim", str(self.directory)),
                    start_new_session=True,
                    env={},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=errors,
                )
            if shim.stdout is not None:
                await shim.stdout.read()
        while not self.running and not self.exit and self._shim():
            await asyncio.sleep(0.02)  # found a shim that another life of the cluster started a moment ago

    async def wait(self) -> Obj:
        """The exit record; a made-up one when the shim is gone without leaving any."""
        while not self.exit:
            shim = self._shim()
            if shim is None:
                break
            await _gone(shim["shim"], lambda: self._shim() is None)
        result = self.exit
        if result:
            remove_tree(self.directory / "scratch")
            return result
        self._end_leftovers()
        return dict(LOST)

    def stop(self, grace: float) -> None:
        """Ask for SIGTERM now and SIGKILL after `grace`; the shim sees to both even if the cluster dies."""
        write_json(self.directory / "stop.json", {"grace": grace})
        shim = self._shim()
        if shim and not self.exit:
            os.kill(shim["shim"], signal.SIGTERM)

    def _shim(self) -> Obj | None:
        """The living shim of this run: a pid alone may be somebody else's by now."""
        shim = self._read("started")
        return shim if shim and procinfo.start_of(shim["shim"]) == shim["born"] else None

    def _end_leftovers(self) -> None:
        """Somebody killed the shim. Its process died with it on Linux; elsewhere it is ended here."""
        running = self.running
        if running and procinfo.start_of(running["pid"]) and not Path("/proc/self").is_dir():
            os.killpg(running["pid"], signal.SIGKILL)

    def _read(self, name: str) -> Obj | None:
        try:
            content: Obj = json.loads((self.directory / name).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        return content


class HollowProcess(Process):
    """None at all: it is said to run for a while and to end well. It starts anew with the cluster."""

    def __init__(self, directory: Path, seconds: float) -> None:
        super().__init__(directory)
        self._seconds = seconds
        self._started = ""
        self._stopped = asyncio.Event()

    @property
    def recorded(self) -> bool:
        return bool(self._started)

    @property
    def running(self) -> Obj | None:
        return {"startedAt": self._started}

    @property
    def exit(self) -> Obj | None:
        return None

    async def start(self, run: Obj) -> None:  # noqa: ARG002 (nothing is run)
        self._started = stamp(now())

    async def wait(self) -> Obj:
        result: Obj = {"exitCode": 143, "signal": 15, "reason": "Error"}
        try:
            async with asyncio.timeout(self._seconds):
                await self._stopped.wait()
        except TimeoutError:
            result = {"exitCode": 0, "reason": "Completed"}
        return {**result, "startedAt": self._started, "finishedAt": stamp(now())}

    def stop(self, grace: float) -> None:  # noqa: ARG002 (it goes at once)
        self._stopped.set()


async def _gone(pid: int, ended: Callable[[], bool]) -> None:
    """Until the process has ended: told by the kernel where it can, asked for elsewhere."""
    if not hasattr(os, "pidfd_open"):
        while not ended():
            await asyncio.sleep(0.2)
        return
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    try:
        if not ended():
            loop.add_reader(fd, done.set)
            await done.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def remove_tree(folder: Path) -> None:
    """Refuses where something is mounted: what containers have mounted must never be emptied."""
    if not folder.exists():
        return
    mounts = Path("/proc/self/mountinfo")
    points = [line.split()[4] for line in mounts.read_text().splitlines()] if mounts.exists() else []
    if any(Path(point).is_relative_to(folder) for point in points):
        raise OSError(f"{folder} has something mounted in it and is not removed")
    shutil.rmtree(folder, ignore_errors=True)


def write_json(path: Path, content: Obj) -> None:
    partial = path.with_name(path.name + ".new")
    partial.write_text(json.dumps(content))
    partial.replace(path)
