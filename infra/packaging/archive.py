"""Compiles the package and zips it so that the same files always make the same bytes.

A zip that differs though nothing changed would be uploaded again and would update every function.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

TASK_ROOT = "/var/task"  # where Lambda unpacks it: what tracebacks show
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first day of zip


def compile_all(tree: Path) -> None:
    """Add .pyc files that are never checked against their sources: halves the time of a cold import.

    One process, in one order, with one hash seed: what marshal writes depends on all three.
    """
    command = [sys.executable, "-m", "compileall", "-q", "-j", "1"]
    command += ["--invalidation-mode", "unchecked-hash", "-s", str(tree), "-p", TASK_ROOT, str(tree)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "0"})


def write(tree: Path, archive: Path) -> None:
    """Zip the tree: names sorted, one timestamp, one mode."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as output:
        for file in _files(tree):
            info = zipfile.ZipInfo(file.relative_to(tree).as_posix(), _LONG_AGO)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, whatever it is built on
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            output.writestr(info, file.read_bytes())


def size(tree: Path) -> int:
    """Bytes, unpacked."""
    return sum(file.stat().st_size for file in _files(tree))


def sha256(archive: Path) -> str:
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def _files(tree: Path) -> Iterable[Path]:
    return sorted(file for file in tree.rglob("*") if file.is_file())
