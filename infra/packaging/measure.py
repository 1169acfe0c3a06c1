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
from collections.abc import Mapping
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
imported = time.process_time()
if parts:
    from chalicelib.bootstrap import container
    for part in parts:
        getattr(container(), part)
for each in more:
    importlib.import_module(each)
print(json.dumps([imported - started, time.process_time() - started]))
"""


class NotWhole(RuntimeError):
    """A function cannot be imported, or not build what it needs, out of the package alone."""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """CPU milliseconds of this machine."""

    function: str
    imported: float  # the handler
    ready: float  # the handler and what its first call builds


def cold_starts(tree: Path, handlers: Mapping[str, str]) -> list[ColdStart]:
    """Measure each function (its handler by its name), the minimal app first. Raises NotWhole."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "minimal.py").write_text(_APP)
        subprocess.run([sys.executable, "-m", "compileall", "-q", folder], check=True)
        found = [_measure(MINIMAL, "minimal.app", [folder, str(tree)], (), ())]
    for function, handler in sorted(handlers.items()):
        parts, more = FIRST_CALL.get(function, ((), ()))
        found.append(_measure(function, handler, [str(tree)], parts, more))
    return found


def _measure(
    function: str, handler: str, folders: list[str], parts: tuple[str, ...], more: tuple[str, ...]
) -> ColdStart:
    module, _, name = handler.rpartition(".")
    told = json.dumps([folders, module, name, parts, more])
    runs = [_run(function, told) for _ in range(RUNS)]
    return ColdStart(function, 1000 * median(run[0] for run in runs), 1000 * median(run[1] for run in runs))


def _run(function: str, told: str) -> list[float]:
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
    cpu: list[float] = json.loads(done.stdout.splitlines()[-1])
    return cpu
