"""What the operating system says about processes, kept apart because Linux and macOS say it differently."""

# Part of every container's start, so nothing slow is imported.
# ruff: noqa: PTH112, PTH123, PTH208, PLC0415
from __future__ import annotations

import os


def start_of(pid: int) -> str:
    """A word that differs when a pid is used again; empty when there is no such process, or its zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return _start_without_proc(pid)
    return "" if fields[0] in "ZX" else fields[19]


def _start_without_proc(pid: int) -> str:
    if os.path.isdir("/proc/self"):
        return ""
    import subprocess  # only where there is no /proc

    shown = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = shown.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


def descendants(pid: int) -> list[int]:
    """Children and theirs, deepest last. Empty where the system does not tell."""
    found = [pid]
    for parent in found:  # which grows meanwhile
        try:
            for thread in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{thread}/children") as file:
                    found += [int(word) for word in file.read().split() if int(word) not in found]
        except OSError:
            continue
    return found[1:]


def members(session: int) -> list[int]:
    """The processes of a session, whoever their parents are. Empty where the system does not tell."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc/self") else ()):
        try:
            with open(f"/proc/{name}/stat") as file:
                if int(file.read().rpartition(")")[2].split()[3]) == session:
                    found.append(int(name))
        except OSError:
            continue
    return found


def memory_of(pids: list[int], limit: int) -> int:
    """Bytes that the processes hold. Shared pages are split fairly, once the cheap sum is over the limit."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm") as file:
                total += int(file.read().split()[1]) * page
        except OSError:
            continue
    if total <= limit:
        return total
    return sum(_proportional(pid) for pid in pids)


def _proportional(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
    except OSError:
        return 0
    return sum(int(lines[k].split()[0]) * 1024 for k in ("Pss_Anon", "Pss_Shmem") if k in lines)
