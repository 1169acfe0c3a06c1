"""A private file tree and process table per container, as far as the kernel gives them without a runtime:
/workspace/train.py exists as written, the host's / is untouched, and the first process is PID 1.

Standard library only: the shim imports it before the container starts.
"""

# Part of every container's start, so nothing slow is imported.
# ruff: noqa: PTH102, PTH110, PTH112, PTH114, PTH115, PTH116, PTH118, PTH120, PTH123, PTH211
from __future__ import annotations

import ctypes
import os
import socket
import stat
import tempfile
from collections.abc import Callable
from typing import TypedDict

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x04000000, 0x10000000, 0x20000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 1, 32, 4096, 8192, 16384, 1 << 18
MS_UNBINDABLE = 1 << 17
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MNT_DETACH = 2
# statvfs flag -> mount flag: a user namespace may not drop the flags that a mount already has
_KEPT_FLAGS = ((1, 1), (2, 2), (4, 4), (8, 8), (1024, 1024), (2048, 2048), (4096, 1 << 21))


class Mount(TypedDict):
    path: str  # inside the container
    source: str  # on the host; empty for a memory file system
    readonly: bool
    size: int  # of a memory file system, 0 for no limit


def unshare_pids() -> None:
    """The next child is the first process of a PID namespace; the kernel ends all others with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    _check(libc.unshare(CLONE_NEWPID | (CLONE_NEWUSER if uid else 0)), "unshare")
    if uid:
        for name, line in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(line)


def enter(mounts: list[Mount], scratch: str, hostname: str) -> None:
    """Move this process (about to exec) into its own file tree and host name."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(CLONE_NEWNS | CLONE_NEWUTS), "unshare")
    if hostname:
        socket.sethostname(hostname)
    tree = Tree(libc, scratch)
    for mount in sorted(mounts, key=lambda m: m["path"].count("/")):
        tree.attach(mount)
    tree.become_root()


def join_pids(pid: int) -> None:
    """The next child is one of the processes that `pid` sees."""
    _join(pid, *(("user", "pid") if os.geteuid() else ("pid",)))


def join(pid: int) -> None:
    """Move this process into the file tree and host name that `pid` has."""
    _join(pid, "uts", "mnt")


def _join(pid: int, *kinds: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for fd in [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in kinds]:
        _check(libc.setns(fd, 0), "setns")
        os.close(fd)


def supported(scratch: str) -> bool:
    """Whether this machine allows it, found out by doing it in a child's child."""
    probe: Mount = {"path": "/dev/trainyard-probe", "source": scratch, "readonly": True, "size": 0}

    def entered() -> bool:
        enter([probe], scratch, "probe")
        return os.path.isdir(probe["path"])

    def allowed() -> bool:
        unshare_pids()
        return _in_child(entered)

    return hasattr(os, "pidfd_open") and _in_child(allowed)


def _in_child(what: Callable[[], bool]) -> bool:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if what() else 1
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


class Tree:
    """A root under construction: a tmpfs holding binds of the host's entries and the mount points."""

    def __init__(self, libc: ctypes.CDLL, scratch: str) -> None:
        self._libc = libc
        self._scratch = scratch
        self._mount("none", "/", None, MS_REC | MS_PRIVATE)
        self._ours: set[str] = set()
        self.root = self._copy_of("/")
        self._ours.add(self.root)
        self._mount("proc", f"{self.root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)

    def attach(self, mount: Mount) -> None:
        directory = not mount["source"] or os.path.isdir(mount["source"])
        target = self._make(mount["path"], directory)
        if target == self.root:
            raise OSError(0, "nothing can be mounted on /")
        if not mount["source"]:
            size = f",size={mount['size']}" if mount["size"] else ""
            self._mount("tmpfs", target, "tmpfs", 0, f"mode=1777{size}")
            self._ours.add(target)
        else:
            self._mount(mount["source"], target, None, MS_BIND | MS_REC)
        if mount["readonly"]:
            self._mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | _flags_of(target))

    def become_root(self) -> None:
        os.chdir(self.root)
        _check(self._libc.pivot_root(b".", b"."), "pivot_root")
        _check(self._libc.umount2(b".", MNT_DETACH), "umount2")
        os.chdir("/")

    def _make(self, path: str, directory: bool) -> str:
        """The place in the tree for `path`, made where it is missing, without writing to the host."""
        at, names = self.root, [n for n in path.split("/") if n]
        while names:
            name = names.pop(0)
            following = os.path.join(at, name)
            if os.path.islink(following):
                link = os.readlink(following)
                at = self.root if link.startswith("/") else at
                names = [n for n in link.split("/") if n] + names
                continue
            if name == "..":
                at = os.path.dirname(at) if at != self.root else at
                continue
            if not os.path.exists(following):
                self._own(at)
                if names or directory:
                    os.mkdir(following)
                else:
                    os.close(os.open(following, os.O_CREAT | os.O_WRONLY, 0o666))
            at = following
        return at

    def _own(self, directory: str) -> None:
        """Put a tmpfs copy over a directory of the host, unless it is already ours to write to."""
        at = directory
        while at not in self._ours and not os.path.ismount(at) and at != self.root:
            at = os.path.dirname(at)
        if at in self._ours:
            return
        copy = self._copy_of(directory)
        self._mount(copy, directory, None, MS_MOVE)
        self._ours.add(directory)

    def _copy_of(self, directory: str) -> str:
        copy = tempfile.mkdtemp(dir=self._scratch)
        mode = stat.S_IMODE(os.stat(directory).st_mode)
        self._mount("tmpfs", copy, "tmpfs", 0, f"mode={mode:o}")
        self._mount("none", copy, None, MS_UNBINDABLE)
        with os.scandir(directory) as entries:
            for entry in entries:
                target = os.path.join(copy, entry.name)
                if entry.is_symlink():
                    os.symlink(os.readlink(entry.path), target)
                    continue
                if entry.is_dir(follow_symlinks=False):
                    os.mkdir(target)
                else:
                    os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
                self._mount(entry.path, target, None, MS_BIND | MS_REC)
        self._mount("none", copy, None, MS_PRIVATE)
        return copy

    def _mount(self, source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
        result = self._libc.mount(
            source.encode(),
            target.encode(),
            kind.encode() if kind else None,
            ctypes.c_ulong(flags),
            data.encode() or None,
        )
        _check(result, f"mount {source} on {target}")


def _flags_of(path: str) -> int:
    have = os.statvfs(path).f_flag
    return sum(mount for vfs, mount in _KEPT_FLAGS if have & vfs and mount != MS_RDONLY)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
