"""One shim per container keeps its process, log and exit status while the cluster itself may die and return.

Standard library only, and few modules: its start is part of every container's start.
"""

# Part of every container's start, so nothing slow is imported.
# ruff: noqa: PTH105, PTH108, PTH123
from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import time
from typing import Any

from infra.local.kubernetes import child, procinfo, sandbox

LINE_LIMIT = 16 * 1024


def main(directory: str) -> None:
    """`directory` holds run.json; started, running.json, log and exit.json appear in it."""
    os.chdir(directory)
    with open("run.json") as file:
        run: dict[str, Any] = json.load(file)
    # until there is a handler: a stop may come at once
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if claim():
        Shim(run).run()


def claim() -> bool:
    """Exactly one shim ever starts this container, however often one is asked to."""
    mine = f"started.{os.getpid()}"
    write_whole(mine, {"shim": os.getpid(), "born": procinfo.start_of(os.getpid())})
    try:
        os.link(mine, "started")
    except FileExistsError:
        return False
    finally:
        os.unlink(mine)
    return True


class Shim:
    def __init__(self, run: dict[str, Any]) -> None:
        self._run = run
        self._log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._streams: dict[int, tuple[str, bytearray]] = {}
        self._wake = child.adopt()
        self._asked = False
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        self._main = 0
        self._status: int | None = None
        self._kill_at = self._drain_until = self._alone_since = 0.0
        self._oom = self._orphaned = False
        self._started_at = timestamp(time.time_ns())
        self._latest = 0

    def run(self) -> None:
        failure = self._start()
        if failure:
            self._finish({"exitCode": 128, "reason": "StartError", "message": failure})
            return
        write_whole("running.json", {"pid": self._main, "startedAt": self._started_at})
        tell_started()
        poll = select.poll()
        for fd in (self._wake, *self._streams):
            poll.register(fd, select.POLLIN)
        while self._status is None or (self._streams and time.monotonic() < self._drain_until):
            for fd, _ in poll.poll(self._timeout() * 1000):
                if fd == self._wake:
                    os.read(fd, 512)
                elif not self._copy(fd):
                    poll.unregister(fd)
                    os.close(fd)
            self._reap()
            self._police()
        for fd in list(self._streams):
            self._flush(fd, last=True)
        self._finish(self._result(self._status))

    def _on_term(self, *_: object) -> None:
        self._asked = True

    def _start(self) -> str:
        if self._run["sandbox"]:
            try:
                sandbox.unshare_pids()
            except OSError as error:
                return str(error)
        (out, stdout), (err, stderr) = os.pipe(), os.pipe()
        self._streams = {out: ("stdout", bytearray()), err: ("stderr", bytearray())}
        streams = (os.open(os.devnull, os.O_RDONLY), stdout, stderr)
        self._main, failure = child.spawn(self._run, streams, self._enter)
        if failure:
            os.waitpid(self._main, 0)
        return failure

    def _enter(self) -> None:
        if self._run["sandbox"]:
            sandbox.enter(self._run["mounts"], self._run["scratch"], self._run["hostname"])

    def _timeout(self) -> float:
        if self._status is not None:
            return 0.05
        waits: list[float] = [min(1.0, self._run["orphanGrace"] / 4 + 0.05)]
        if self._run["memory"]:
            waits.append(0.25)
        if self._kill_at:
            waits.append(max(0.0, self._kill_at - time.monotonic()))
        return min(waits)

    def _police(self) -> None:
        """Stop requests, the grace period, the memory limit, and a cluster that is gone."""
        if self._status is not None:
            return
        if self._asked:
            self._asked = False
            self._end(stop_grace())
        if self._kill_at and time.monotonic() >= self._kill_at:
            child.kill_tree(self._main)
        limit = self._run["memory"]
        if limit and procinfo.memory_of(procinfo.descendants(os.getpid()), limit) > limit:
            self._oom = True
            child.kill_tree(self._main)
        if not cluster_is_gone(self._run["lock"]):
            self._alone_since = 0.0
        elif not self._alone_since:
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since >= self._run["orphanGrace"] and not self._orphaned:
            self._orphaned = True
            self._end(min(5.0, self._run["grace"]))

    def _end(self, grace: float) -> None:
        child.send(self._main, signal.SIGTERM)
        until = time.monotonic() + grace
        self._kill_at = min(self._kill_at or until, until)

    def _reap(self) -> None:
        for pid, status in child.ended():
            if pid == self._main:
                self._status = status
                self._drain_until = time.monotonic() + 2
                child.kill_tree(self._main)  # as when the first process of a container ends

    def _result(self, status: int | None) -> dict[str, Any]:
        code = os.waitstatus_to_exitcode(status or 0)
        number = -code if code < 0 else 0
        reason = "OOMKilled" if self._oom else "Completed" if code == 0 else "Error"
        result = {"exitCode": 128 + number if number else code, "signal": number, "reason": reason}
        return {**result, "message": "", "orphaned": self._orphaned}

    def _finish(self, result: dict[str, Any]) -> None:
        write_whole(
            "exit.json", {**result, "startedAt": self._started_at, "finishedAt": timestamp(time.time_ns())}
        )

    def _copy(self, fd: int) -> bool:
        data = os.read(fd, 65536)
        self._streams[fd][1].extend(data)
        self._flush(fd, last=not data)
        if not data:
            del self._streams[fd]
        return bool(data)

    def _flush(self, fd: int, last: bool) -> None:
        name, pending = self._streams[fd]
        out = bytearray()
        start = 0
        while start < len(pending):
            end = pending.find(b"\n", start, start + LINE_LIMIT)
            if end >= 0:
                out += self._prefix(name, "F") + pending[start:end] + b"\n"
                start = end + 1
            elif len(pending) - start >= LINE_LIMIT:
                out += self._prefix(name, "P") + pending[start : start + LINE_LIMIT] + b"\n"
                start += LINE_LIMIT
            else:
                break
        if last and start < len(pending):
            out += self._prefix(name, "F") + pending[start:] + b"\n"
            start = len(pending)
        del pending[:start]
        if out:
            os.write(self._log, out)

    def _prefix(self, stream: str, tag: str) -> bytes:
        """Each record has a time of its own, later than the one before it, whatever the clock does."""
        self._latest = max(time.time_ns(), self._latest + 1)
        return f"{timestamp(self._latest)} {stream} {tag} ".encode()


def cluster_is_gone(lock: str) -> bool:
    """The cluster holds this lock for as long as it lives; the kernel frees it however the cluster dies."""
    try:
        with open(lock, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def stop_grace() -> float:
    try:
        with open("stop.json") as file:
            return float(json.load(file)["grace"])
    except (OSError, ValueError):
        return 30.0


def tell_started() -> None:
    """The end of our stdout says that running.json can be read."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def write_whole(path: str, content: dict[str, Any]) -> None:
    partial = f"{path}.{os.getpid()}.new"
    with open(partial, "w") as file:
        json.dump(content, file)
    os.replace(partial, path)


def timestamp(moment: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment // 10**9)) + f".{moment % 10**9:09d}Z"
