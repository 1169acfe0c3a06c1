"""How a process within a container is started and ended, by its shim or by the helper of `kubectl exec`.

Standard library only, as both are.
"""

# Part of every container's start, so nothing slow is imported.
# ruff: noqa: PTH103, PLC0415
from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from infra.local.kubernetes import procinfo

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def adopt() -> int:
    """Take in what descendants leave behind; a descriptor that can be read when a child has ended."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake, waker = os.pipe()
    for fd in (wake, waker):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return wake


def spawn(run: dict[str, Any], streams: tuple[int, int, int], enter: Callable[[], None]) -> tuple[int, str]:
    """The child, which runs (or else why it could not), and is the only one with its streams."""
    failure, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(failure)
        _become(run, streams, told, enter)
    for fd in (told, *set(streams)):
        os.close(fd)
    with os.fdopen(failure, "rb") as file:
        return pid, file.read().decode(errors="replace")


def ended() -> Iterator[tuple[int, int]]:
    """Children of whom it has not been told yet, and how they ended."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            yield found


def kill_tree(main: int) -> None:
    """The process, its group, and whatever of this process's descendants left the group."""
    found = procinfo.descendants(os.getpid())  # now: without their parents they may be another's
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(main, signal.SIGKILL)
    for pid in found:
        send(pid, signal.SIGKILL)


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _become(
    run: dict[str, Any], streams: tuple[int, int, int], failure: int, enter: Callable[[], None]
) -> NoReturn:
    argv: list[str] = run["argv"]
    try:
        if not argv:
            raise OSError(0, "no command specified: images are not run here, so none has an entrypoint")
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if _is_broken(failure):
            os._exit(128)  # it died before it could be asked for
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        for target, source in enumerate(streams):
            os.dup2(source, target)
        enter()
        os.makedirs(run["cwd"], exist_ok=True)
        os.chdir(run["cwd"])
        os.umask(0o022)
        os.execvpe(argv[0], argv, run["env"])
    except (OSError, ValueError) as error:
        os.write(failure, _explain((argv or [""])[0], error).encode())
    finally:
        os._exit(128)


def _is_broken(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(0))


def _explain(command: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError) and os.fsdecode(error.filename or "").endswith(command):
        absent = "executable file not found in $PATH"
        return f'exec: "{command}": ' + (
            f"stat {command}: no such file or directory" if "/" in command else absent
        )
    told = getattr(error, "strerror", None) or str(error)
    return f'exec: "{command}": {told.lower()}'


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes  # slow to load, and of no use elsewhere

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
