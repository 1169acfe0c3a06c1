"""Takes out of the package what no function ever loads, two thirds of it: a cold start fetches them.

Each thing stands here with its reason. That nothing is missed is proved by `measure.py`, which imports every
handler and builds what its first call needs out of what is left alone, and by the tests of the artifact.
"""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

_CLI = "chalice's command line: chalice/app.py, all of it that ships, imports the standard library only"
_AIO = "kubernetes/aio"
DISTRIBUTIONS = {
    "blessed": _CLI,
    "click": _CLI,
    "editor": _CLI,
    "inquirer": _CLI,
    "jinxed": _CLI,
    "packaging": _CLI,
    "pip": _CLI,
    "readchar": _CLI,
    "runs": _CLI,
    "setuptools": _CLI,
    "wcwidth": _CLI,
    "wheel": _CLI,
    "xmod": _CLI,
    "aiohappyeyeballs": _AIO,
    "aiohttp": _AIO,
    "aiohttp_retry": _AIO,
    "aiosignal": _AIO,
    "attrs": _AIO,
    "frozenlist": _AIO,
    "multidict": _AIO,
    "propcache": _AIO,
    "yarl": _AIO,
    "pycparser": "compiles declarations for cffi; cryptography's are compiled",
}
FILES = {
    "kubernetes/aio/**/*": "an asynchronous client",
    "kubernetes/client/api/*_api.py": "the typed APIs: cluster/api.py speaks paths and dicts",
    "kubernetes/client/models/v[0-9]*.py": "their models",
    "kubernetes/**/*_test.py": "tests",
    "botocore/data/*/*/examples-1.json": "documentation",
    "**/__pycache__/*": "compiled for another path",
    "*.dist-info/**/*": "all but METADATA, which importlib.metadata reads",
    "*.data/scripts/*": "command lines",
}
# What chalicelib makes clients of. botocore ships 400 others.
SERVICES = frozenset({"dynamodb", "eks", "events", "lambda", "logs", "s3", "secretsmanager", "sts"})
_KEPT = re.compile(r"[^/]+\.dist-info/METADATA")


def trim(tree: Path) -> None:
    """Remove from the unpacked package all that is named above."""
    for info in sorted(tree.glob("*.dist-info")):
        if info.name.split("-")[0].lower() in DISTRIBUTIONS:
            _uninstall(tree, info)
    for service in (tree / "botocore" / "data").iterdir():
        if service.is_dir() and service.name not in SERVICES:
            shutil.rmtree(service)
    for pattern in FILES:
        for file in list(tree.glob(pattern)):
            if file.is_file() and not _KEPT.fullmatch(file.relative_to(tree).as_posix()):
                file.unlink()
    for folder in sorted(tree.rglob("*"), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _uninstall(tree: Path, info: Path) -> None:
    """Remove the files that a distribution says are its own."""
    with (info / "RECORD").open(encoding="utf-8", newline="") as record:
        for path, *_ in csv.reader(record):
            file = (tree / path).resolve()
            if file.is_relative_to(tree.resolve()):
                file.unlink(missing_ok=True)
    shutil.rmtree(info, ignore_errors=True)
