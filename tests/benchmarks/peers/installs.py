"""Installs the peers beside Trainyard and not into the system: Ray into a venv, Slurm into a folder.

Debian's packages are unpacked and not installed: that needs no root, and starts no daemon by itself.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from infra.local.config import REPO
from tests.benchmarks.peers.system import NotAvailable

RAY = "ray[default]==2.60.0"
RAY_VENV = REPO / ".venv-ray"
SLURM = REPO / ".peers" / "slurm"
SLURM_PACKAGES = ("slurmctld", "slurmd", "slurmrestd", "slurm-wlm-basic-plugins", "munge", "libmunge2")
DAEMONS = ("slurmctld", "slurmd", "slurmstepd")


def ray() -> Path:
    """The venv's folder of programs."""
    stamp, programs = RAY_VENV / ".stamp", RAY_VENV / "bin"
    if not (stamp.exists() and stamp.read_text() == RAY):
        shutil.rmtree(RAY_VENV, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(RAY_VENV))
        pip = ("-m", "pip", "install", "-qq", "--disable-pip-version-check")
        _run(str(programs / "python"), *pip, RAY)
        stamp.write_text(RAY)
    return programs


def slurm() -> Path:
    """The folder that stands for the root of the file system."""
    root, packages = SLURM / "root", SLURM / "packages"
    if not (SLURM / ".stamp").exists():
        shutil.rmtree(SLURM, ignore_errors=True)
        packages.mkdir(parents=True)
        _run("apt-get", "download", "-qq", *_with_dependencies(), cwd=packages)
        for package in packages.glob("*.deb"):
            _run("dpkg-deb", "-x", str(package), str(root))
        for daemon in DAEMONS:  # Debian's alternatives; a daemon knows by its name which one it is
            link = root / "usr" / "sbin" / daemon
            if not link.exists():
                link.symlink_to(f"{daemon}-wlm")
        (SLURM / ".stamp").touch()
    return root


def _with_dependencies() -> list[str]:
    """What is missing on this machine, and the packages themselves in any case."""
    told = _run("apt-get", "install", "--simulate", "--no-install-recommends", *SLURM_PACKAGES)
    missing = [line.split()[1] for line in told.splitlines() if line.startswith("Inst ")]
    return sorted({*missing, *SLURM_PACKAGES})


def _run(*argv: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NotAvailable(f"{argv[0]} is not on this machine") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NotAvailable(f"{' '.join(argv[:4])} …: {last}") from error
    return done.stdout
