"""Follows the log files of a node's pods as a kubelet lays them out: NAMESPACE_POD_UID/CONTAINER/ATTEMPT.log.

Files stay open until they are gone and read to their end, so that a log that is rotated or deleted while the
shipper is behind loses nothing. How far a file was read is kept by its first record's time: a name moves on
with each rotation, and an inode comes back as another file.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# More than a batch holds, so that a line without an end in it is none of a container runtime's.
READ_BYTES = 1_048_576
# How long a folder counts as changed: two changes may fall on one tick of the file system's clock.
_SETTLED_NS = 1_000_000_000
# What a kubelet renamed at rotation; what it compressed later was read before.
_FILE = re.compile(r"(?P<attempt>\d+)\.log(?:\.(?P<rotated>\d{8}-\d{6}))?")

log = logging.getLogger("shipper")


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as the name of its folder tells it."""

    namespace: str
    name: str
    uid: str


class Checkpoint:
    """How far each file was shipped, in a file that is replaced as a whole."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offsets: dict[str, int] = {}
        self._changed = False
        try:
            self._offsets = {str(key): int(offset) for key, offset in json.loads(file.read_text()).items()}
        except FileNotFoundError:
            log.info("no checkpoint: starting at the beginning of every log")
        except (ValueError, AttributeError, TypeError) as error:
            log.warning("the checkpoint %s cannot be read, every log is sent again: %r", file, error)

    def get(self, key: str) -> int:
        return self._offsets.get(key, 0)

    def put(self, key: str, offset: int) -> None:
        self._offsets[key] = offset
        self._changed = True

    def keep(self, folders: set[str]) -> None:
        """Forget the files of pods that have no folder any more."""
        kept = {key: offset for key, offset in self._offsets.items() if key.split("/", 1)[0] in folders}
        self._changed |= len(kept) < len(self._offsets)
        self._offsets = kept

    def save(self) -> None:
        if not self._changed:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps(self._offsets))
        temporary.replace(self._file)
        self._changed = False


@dataclass(slots=True)
class LogFile:
    """One open file."""

    fd: int
    order: tuple[int, str]  # attempts one after the other; a rotated file before the one that followed it
    key: str = ""  # in the checkpoint, once it has a first record
    offset: int = 0
    gone: bool = False


class ContainerLog:
    """One container's log: the files of all its attempts, in the order in which they were written."""

    def __init__(self, folder: Path, checkpoint: Checkpoint) -> None:
        self.pod = Pod(*folder.parent.name.split("_"))
        self.container = folder.name
        self._folder = folder
        self._checkpoint = checkpoint
        self._files: dict[tuple[int, int], LogFile] = {}
        self._listing = _Listing(folder)

    @property
    def is_over(self) -> bool:
        """Whether its folder is gone and all of it was read."""
        return self._listing.gone and not self._files

    def refresh(self) -> None:
        """Open what is new, let go what is gone and was read."""
        names = self._listing.read()
        if names is not None:
            for file in self._files.values():
                file.gone = True
            for name in names:
                if found := _FILE.fullmatch(name):
                    self._take(name, (int(found["attempt"]), found["rotated"] or "~"))
        for identity, file in list(self._files.items()):
            if file.gone and not self._unread(file):
                os.close(file.fd)
                del self._files[identity]

    def read(self) -> tuple[LogFile, bytes] | None:
        """The first file with lines that were not shipped, and its bytes from there."""
        for file in sorted(self._files.values(), key=lambda each: each.order):
            if data := self._unread(file):
                return file, data
        return None

    @property
    def has_grown(self) -> bool:
        """Whether there may be something to read."""
        return any(os.fstat(file.fd).st_size > file.offset for file in self._files.values())

    def advance(self, file: LogFile, offset: int) -> None:
        """What comes before `offset` was shipped."""
        file.offset = offset
        self._checkpoint.put(file.key, offset)

    def close(self) -> None:
        for file in self._files.values():
            os.close(file.fd)
        self._files.clear()

    def _take(self, name: str, order: tuple[int, str]) -> None:
        try:
            fd = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # renamed or deleted since it was listed
        status = os.fstat(fd)
        identity = (status.st_dev, status.st_ino)
        if identity in self._files:
            os.close(fd)
        else:
            self._files[identity] = LogFile(fd, order)
        self._files[identity].order = order
        self._files[identity].gone = False

    def _unread(self, file: LogFile) -> bytes:
        """Bytes with at least one whole line in them, or none."""
        if not file.key:
            moment, space, _ = os.pread(file.fd, 64, 0).partition(b" ")
            if not space:
                return b""
            first = moment.decode(errors="replace")
            file.key = f"{self._folder.parent.name}/{self.container}/{file.order[0]}/{first}"
            file.offset = self._checkpoint.get(file.key)
        size = os.fstat(file.fd).st_size
        if size <= file.offset:
            return b""
        data = os.pread(file.fd, READ_BYTES, file.offset)
        return data if b"\n" in data or len(data) == READ_BYTES else b""


class NodeLogs:
    """The logs of all pods that the node has or had."""

    def __init__(self, root: Path, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._root = root
        self._pods = _Listing(root)
        self._containers: dict[str, _Listing] = {}
        self._logs: dict[Path, ContainerLog] = {}
        self._ignored: set[str] = set()

    def __iter__(self) -> Iterator[ContainerLog]:
        return iter(list(self._logs.values()))

    def refresh(self) -> None:
        """Look at what came and went."""
        names = self._pods.read()
        if names is not None:
            folders = {name for name in names if name.count("_") == 2}
            self._containers = {name: self._containers.get(name) or self._listing(name) for name in folders}
            self._ignored &= folders
            if folders:  # none at all may be a folder that is not mounted yet
                self.checkpoint.keep(folders)
        for pod, listing in self._containers.items():
            for container in () if pod in self._ignored else listing.read() or ():
                folder = self._root / pod / container
                if folder not in self._logs and folder.is_dir():
                    self._logs[folder] = ContainerLog(folder, self.checkpoint)
        for folder, each in list(self._logs.items()):
            each.refresh()
            if each.is_over:
                del self._logs[folder]

    def ignore(self, pod: Pod) -> None:
        """It is none of ours: do not look at it again."""
        self._ignored.add(f"{pod.namespace}_{pod.name}_{pod.uid}")
        for folder, each in list(self._logs.items()):
            if each.pod == pod:
                each.close()
                del self._logs[folder]

    def _listing(self, name: str) -> _Listing:
        return _Listing(self._root / name)


class _Listing:
    """A folder's names, read again only when the folder has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = 0
        self.gone = False

    def read(self) -> list[str] | None:
        """The names; None when they are as they were."""
        try:
            changed = self._folder.stat().st_mtime_ns
            if changed == self._seen:
                return None
            names = [path.name for path in self._folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            if self.gone:
                return None
            self.gone, self._seen = True, 0
            return []
        self.gone = False
        self._seen = changed if time.time_ns() - changed > _SETTLED_NS else 0
        return names
