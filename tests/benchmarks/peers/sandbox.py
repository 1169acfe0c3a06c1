"""A network and a process table of our own: all is on loopback, and nothing is left behind.

Ray and Slurm listen on whatever address they find, and take orders from whoever connects: in here nobody else
can. And there is no process but those that the benchmark started: their memory is a sum over all, and ending
what is left can end nothing else.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

INSIDE = "--inside"
SIOCSIFFLAGS, SIOCSIFADDR, IFF_UP = 0x8914, 0x8916, 1
ADDRESS = "198.51.100.1"  # of those that no network has
NAMESPACES = ("--net", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child")
QUIET_SHARE, QUIET_SECONDS = 0.25, 2.0
TICKS = os.sysconf("SC_CLK_TCK")


def enter(module: str, arguments: Sequence[str]) -> None:
    """Run the module anew inside, in place of this process."""
    user = () if os.geteuid() == 0 else ("--map-root-user",)
    # The shell is process 1: it waits for whatever loses its parent, which Python would leave as zombies.
    first = ("sh", "-c", '"$@"; exit $?', "sh")
    inner = (sys.executable, "-m", module, INSIDE, *arguments)
    try:
        os.execvp("unshare", ["unshare", *user, *NAMESPACES, *first, *inner])
    except FileNotFoundError:
        sys.exit("unshare is not on this machine: the peers are measured on Linux, with util-linux")


def settle_in() -> None:
    """A name that resolves to loopback's address everywhere, and loopback brought up.

    An address that is not 127.x beside it: without, glibc resolves nothing for AI_ADDRCONFIG, as Slurm asks.
    """
    socket.sethostname("localhost")
    address = socket.inet_aton(ADDRESS)
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))
        request = struct.pack("16sHH4s16x", b"lo:1", socket.AF_INET, 0, address)
        fcntl.ioctl(any_socket, SIOCSIFADDR, request)


def memory() -> int:
    """Bytes of all processes, what several share counted once (PSS)."""
    total = 0
    for pid in _others():
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def await_quiet(seconds: float) -> None:
    """Wait until all processes together use less than a quarter of a core, but no longer than `seconds`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        before = _cpu()
        time.sleep(QUIET_SECONDS)
        if _cpu() - before < QUIET_SHARE * QUIET_SECONDS:
            return


def end_all(seconds: float = 10.0) -> None:
    """SIGTERM to what still runs, and SIGKILL to what does not mind it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in _others():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        until = time.monotonic() + seconds
        while _others() and time.monotonic() < until:
            time.sleep(0.1)


def _others() -> list[int]:
    ours = {os.getpid(), 1}
    found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in found if pid not in ours and _stat(pid)[:1] not in ([], ["Z"])]


def _cpu() -> float:
    """Seconds that the processes of now have used."""
    stats = [_stat(pid) for pid in _others()]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats if fields) / TICKS


def _stat(pid: int) -> list[str]:
    """The fields after the name: the state first. Empty if there is no such process any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
