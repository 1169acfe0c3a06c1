"""Imports what was packaged with nothing else in reach: proof that it is whole, and a cold start's cost.

Each function runs in processes of its own, beside a minimal Chalice app out of the same package. CPU time and
not wall time, so that a busy machine tells nearly the same; Lambda at 512 MB has a fraction of a core.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

RUNS = 3
MINIMAL = "minimal Chalice app"
_CLUSTER = (
    "kubernetes.client.api_client",
    "kubernetes.client.exceptions",
    "kubernetes.config",
    "chalicelib.eks",
)
# What a function's first call builds: parts of the container, and what the cluster's adapter imports.
FIRST_CALL: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "APIHandler": (("submission", "jobs", "events"), ()),
    "Authorizer": (("tokens",), ("jwt", "cryptography.hazmat.primitives.asymmetric.ec")),
    "Outbox": (("outbox", "kick"), _CLUSTER),
    "Recount": (("store",), ()),
    "StateChanges": (("state_changes",), ()),
    "Sync": (("sync", "repair_bus"), _CLUSTER),
    "UploadStatus": (("status_files",), ()),
    "Uploads": (("uploads", "submission"), ()),
}
_APP = """
from chalice import Chalice
app = Chalice(app_name="minimal")
@app.route("/")
def index(): return {}
"""
_SCRIPT = """
import importlib, json, sys, time
folders, module, name, parts, more = json.loads(sys.argv[1])
sys.path[:0] = folders
started = time.process_time()
getattr(importlib.import_module(module), name)
imported, early = time.process_time(), "kubernetes" in sys.modules
if parts:
    from chalicelib.bootstrap import container
    for part in parts:
        getattr(container(), part)
for each in more:
    importlib.import_module(each)
print(json.dumps([imported - started, time.process_time() - started, early]))
"""


class NotWhole(RuntimeError):
    """A function cannot be imported, or not build what it needs, out of the package alone."""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """CPU milliseconds of this machine."""

    function: str
    imported: float  # the handler
    ready: float  # the handler and what its first call builds
    loads_kubernetes: bool  # with the handler, before any call


def cold_starts(tree: Path, handlers: Mapping[str, str]) -> list[ColdStart]:
    """Measure each function (its handler by its name), the minimal app first. Raises NotWhole."""
    with tempfile.TemporaryDirectory() as folder:
        minimal = app(Path(folder), "minimal", _APP)
        found = [middle([start(MINIMAL, minimal, [Path(folder), tree]) for _ in range(RUNS)])]
    return found + [
        middle([start_function(tree, function, handler) for _ in range(RUNS)])
        for function, handler in sorted(handlers.items())
    ]


def app(folder: Path, name: str, text: str) -> str:
    """A module of that name, compiled as what ships is; returns the handler of its `app`."""
    (folder / f"{name}.py").write_text(text)
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(folder)], check=True)
    return f"{name}.app"


def start_function(tree: Path, function: str, handler: str) -> ColdStart:
    """One cold start of a function out of the package alone. Raises NotWhole."""
    parts, more = FIRST_CALL.get(function, ((), ()))
    return start(function, handler, [tree], parts, more)


def start(
    function: str,
    handler: str,
    folders: Sequence[Path],
    parts: Sequence[str] = (),
    more: Sequence[str] = (),
) -> ColdStart:
    """One cold start with nothing but `folders` in reach; its first call builds `parts` of the container and
    imports `more`. Raises NotWhole."""
    module, _, name = handler.rpartition(".")
    told = json.dumps([list(map(str, folders)), module, name, parts, more])
    # -I and -S: neither this folder, nor any site-packages, nor the user's variables for Python.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TRAINYARD_"))}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", _SCRIPT, told],
        env=kept | {"AWS_DEFAULT_REGION": "us-east-1", "PYDANTIC_DISABLE_PLUGINS": "__all__"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise NotWhole(f"{function} does not start out of the package alone:\n{done.stderr}")
    imported, ready, early = json.loads(done.stdout.splitlines()[-1])
    return ColdStart(function, 1000 * imported, 1000 * ready, early)


def middle(starts: Sequence[ColdStart]) -> ColdStart:
    """Several starts of one function as one: their medians."""
    return ColdStart(
        starts[0].function,
        median(each.imported for each in starts),
        median(each.ready for each in starts),
        any(each.loads_kubernetes for each in starts),
    )
