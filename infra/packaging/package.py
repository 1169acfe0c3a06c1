"""Builds what is deployed: Chalice's package with infra/resources.yaml, trimmed, compiled, zipped anew.

    python -m infra.packaging.package --stage dev

It is built out of a copy: Chalice keeps its own state beside the sources, and the copy's configuration is
the stage's.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.local import functions
from infra.local.config import REPO
from infra.packaging import archive, measure, stages, trim, user_pool
from infra.packaging.measure import ColdStart, NotWhole
from infra.packaging.stages import BadStage, Stage

# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html, those that Trainyard runs on too.
RUNTIMES = ("3.11", "3.12", "3.13", "3.14")
MAX_UNZIPPED = 250 * 1024 * 1024
MAX_ZIPPED_DIRECT = 50 * 1024 * 1024  # by UpdateFunctionCode; out of S3 there is no such limit
_MACHINES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64", "AMD64": "x86_64"}
# Chalice keeps the dependencies that it collected here, by the digest of requirements.txt.
_DEPENDENCIES = REPO / ".chalice" / "deployments"
_SOURCES = (
    "app.py",
    "chalicelib",
    ".chalice/config.json",
    ".chalice/policy.json",
    "requirements.txt",
    "infra",
)


class CannotPackage(RuntimeError):
    """The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Package:
    """What was built; `cold_starts` is empty where this machine cannot run it."""

    template: Path
    zip: Path
    sha256: str
    unzipped: int
    zipped: int
    cold_starts: Sequence[ColdStart]


def build(stage: Stage, out: Path, *, measured: bool = True) -> Package:
    """Write `sam.yaml` and `deployment.zip` to the folder `out`. Raises CannotPackage, NotWhole."""
    check_runtime(sys.version_info[:2])
    with alone(_DEPENDENCIES), tempfile.TemporaryDirectory() as folder:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        raw = _chalice(stage, Path(folder))
        tree = Path(folder, "tree")
        with zipfile.ZipFile(raw / "deployment.zip") as source:
            source.extractall(tree)
        trim.trim(tree)
        archive.compile_all(tree)
        shutil.copy(raw / "sam.yaml", out / "sam.yaml")
        if not stages.makes_user_pool(stage):
            _take_out_user_pool(out / "sam.yaml")
        archive.write(tree, out / "deployment.zip")
        unzipped = archive.size(tree)
        if unzipped > MAX_UNZIPPED:
            raise CannotPackage(f"unzipped it has {unzipped} bytes; Lambda takes {MAX_UNZIPPED}")
        can_run = measured and _MACHINES.get(platform.machine()) == stage.architecture
        starts = measure.cold_starts(tree, handlers(out / "sam.yaml")) if can_run else []
        zipped = out / "deployment.zip"
        return Package(
            out / "sam.yaml", zipped, archive.sha256(zipped), unzipped, zipped.stat().st_size, starts
        )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait for whoever else builds with this folder, and keep others waiting."""
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_runtime(version: tuple[int, ...]) -> None:
    """The functions run on the Python that packages them. Raises CannotPackage where Lambda has none such."""
    minor = ".".join(map(str, version))
    if minor not in RUNTIMES:
        raise CannotPackage(
            f"this is Python {minor}, and Lambda's runtimes are {', '.join(RUNTIMES)}: "
            "make the .venv with one of those (make PYTHON=/path/to/python3.13)"
        )


def handlers(sam: Path) -> Mapping[str, str]:
    """The handler of each function in the template."""
    resources: Mapping[str, Any] = yaml.safe_load(sam.read_text(encoding="utf-8"))["Resources"]
    return {
        name: body["Properties"]["Handler"]
        for name, body in resources.items()
        if body["Type"] == "AWS::Serverless::Function"
    }


def report(package: Package) -> str:
    """The sizes beside Lambda's limits, and what each function's cold start costs."""
    mb = 1024 * 1024
    lines = [
        f"{package.zip}  sha256 {package.sha256}",
        f"  unzipped {package.unzipped / mb:6.1f} MB of {MAX_UNZIPPED / mb:.0f}",
        f"  zipped   {package.zipped / mb:6.1f} MB of {MAX_ZIPPED_DIRECT / mb:.0f} (direct upload)",
    ]
    if not package.cold_starts:
        return "\n".join(
            [*lines, "  cold starts: not measured (only where the architecture is this machine's)"]
        )
    lines.append(f"  {'CPU ms of this machine':<24}{'import':>8}{'+ first call':>14}")
    lines += [f"  {one.function:<24}{one.imported:8.0f}{one.ready:14.0f}" for one in package.cold_starts]
    return "\n".join(lines)


def _chalice(stage: Stage, folder: Path) -> Path:
    """Chalice's own package, in a folder inside of `folder`."""
    copy, out = folder / "source", folder / "raw"
    for name in _SOURCES:
        source, target = REPO / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        else:
            shutil.copy(source, target)
    (copy / ".chalice" / "config.json").write_text(json.dumps(_configuration(stage)))
    (copy / ".chalice" / "deployments").symlink_to(_DEPENDENCIES, target_is_directory=True)
    command = [str(Path(sys.executable).with_name("chalice")), "package", "--stage", stage.name]
    command += ["--merge-template", "infra/resources.yaml", "--template-format", "yaml", str(out)]
    # The template holds for any region; Chalice wants one all the same.
    env = {"AWS_DEFAULT_REGION": "us-east-1", **os.environ}
    done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True)
    if done.returncode or not (out / "deployment.zip").exists():
        raise CannotPackage(f"chalice package failed:\n{done.stdout}{done.stderr}")
    return out


def _take_out_user_pool(sam: Path) -> None:
    body = yaml.safe_load(sam.read_text(encoding="utf-8"))
    sam.write_text(yaml.safe_dump(user_pool.without(body), sort_keys=False), encoding="utf-8")


def _configuration(stage: Stage) -> dict[str, Any]:
    """.chalice/config.json, its one stage under this stage's name and for its architecture."""
    configuration: dict[str, Any] = json.loads(functions.FILE.read_text())
    own = configuration["stages"][functions.STAGE] | {"lambda_architecture": stage.architecture}
    return configuration | {"stages": {stage.name: own}}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="package", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--stage", default="dev")
    parser.add_argument("--stage-file", default="")
    given = parser.parse_args(arguments)
    try:
        stage = stages.read(given.stage, given.stage_file)
        print(report(build(stage, REPO / "dist" / stage.name)))
    except (BadStage, CannotPackage, NotWhole) as error:
        print(f"package: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
