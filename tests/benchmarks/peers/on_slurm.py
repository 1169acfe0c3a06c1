"""Slurm on one node, by slurmrestd.

It has no interface for logs: a job's is a file on a disk that node and user share, read by tail(1).
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.peers.system import (
    FAILURES,
    Client,
    Http,
    System,
    UnixConnection,
    end,
    launch,
    side_by_side,
)
from tests.benchmarks.timing import wait_until

API = "/slurm/v0.0.38"
WAITS = ("PENDING", "CONFIGURING")
RUNS = (*WAITS, "RUNNING", "COMPLETING")
# Its defaults, but for its place and the two last settings: by default it knows 10,000 jobs at most, and
# forgets one five minutes after its end.
CONFIG = """\
ClusterName=bench
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
PluginDir={plugins}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
MailProg=/bin/true
MaxJobCount=50000
MinJobAge=86400

NodeName=localhost NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class SlurmClient(Client):
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._http = Http(UnixConnection(folder / "rest.socket", timeout=120), {})

    def create(self, command: str) -> str:
        return self._submit(command, hold=False)

    def create_waiting(self) -> str:
        return self._submit("true", hold=True)

    def is_pending(self, job_id: str) -> bool:
        return self._state(job_id) in WAITS

    def has_ended(self, job_id: str) -> bool:
        return self._state(job_id) not in RUNS

    def stop(self, job_id: str) -> None:
        self._http.bytes("DELETE", f"{API}/job/{job_id}")

    def list_newest(self) -> int:
        return len(self._http.bytes("GET", f"{API}/jobs"))

    def tail(self, job_id: str, lines: int) -> tuple[list[str], int]:
        argv = ["tail", "-n", str(lines), str(self._output(job_id))]
        told = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
        return told.splitlines(), len(told)

    def follow(self, job_id: str) -> Iterator[str]:
        output = self._output(job_id)
        wait_until(output.exists, 60, "the job's output")
        argv = ["tail", "-n", "+1", "-f", str(output)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            yield from process.stdout
            process.terminate()

    def all_jobs(self) -> list[Any]:
        return list(self._http.json("GET", f"{API}/jobs")["jobs"])

    def _submit(self, command: str, *, hold: bool) -> str:
        job = {
            "name": "bench",
            "hold": hold,
            "current_working_directory": str(self._folder),
            "standard_output": str(self._output("%j")),
            "environment": {"PATH": os.environ["PATH"]},
        }
        body = {"job": job, "script": f"#!/bin/sh\n{command}\n"}
        return str(self._http.json("POST", f"{API}/job/submit", body)["job_id"])

    def _state(self, job_id: str) -> str:
        return str(self._http.json("GET", f"{API}/job/{job_id}")["jobs"][0]["job_state"])

    def _output(self, job_id: str) -> Path:
        return self._folder / f"{job_id}.out"


class Slurm(System):
    name = "Slurm"

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        libraries = next(self._root.glob("usr/lib/*/slurm-wlm"))
        self._prepare(libraries)
        programs, folder = self._root / "usr" / "sbin", self._folder
        env = {
            "PATH": os.environ["PATH"],
            "LD_LIBRARY_PATH": f"{libraries.parent}:{libraries}",
            "SLURM_CONF": str(folder / "slurm.conf"),
            "SLURMRESTD_SECURITY": "disable_user_check",  # it is the user's own, on a socket of theirs
        }
        munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "seed", "log")]
        rest = ("-a", "rest_auth/local", "-s", f"openapi{API.removeprefix('/slurm')}")
        self._launch("munged", env, programs, "--foreground", f"--socket={folder}/munge.socket", *munge)
        wait_until((folder / "munge.socket").exists, 20, "munge's socket")
        self._launch("slurmctld", env, programs, "-D")
        self._launch("slurmd", env, programs, "-D", "-d", str(programs / "slurmstepd"))
        self._launch("slurmrestd", env, programs, *rest, f"unix:{folder}/rest.socket")
        wait_until(self._is_up, 60, "slurmrestd and a node")

    def stop(self) -> None:
        for process in reversed(self._processes):
            end(process)

    def connect(self) -> SlurmClient:
        return SlurmClient(self._folder)

    def fill(self, total: int) -> None:
        """Cancelled before they ran: what is kept of such a job is what is kept of any."""
        client = self.connect()
        self._cancel_all(client)

        def one(client: Client, _: int) -> None:
            client.stop(client.create_waiting())

        side_by_side(one, self, 8, total - len(client.all_jobs()))

    def _cancel_all(self, client: SlurmClient) -> None:
        for job in client.all_jobs():
            if job["job_state"] in RUNS:
                client.stop(str(job["job_id"]))

    def _prepare(self, plugins: Path) -> None:
        self._folder.chmod(0o711)  # munged wants its socket to be everybody's
        for name in ("state", "spool"):
            (self._folder / name).mkdir()
        key = self._folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        text = CONFIG.format(
            folder=self._folder, plugins=plugins, cpus=os.cpu_count(), user=pwd.getpwuid(os.geteuid()).pw_name
        )
        (self._folder / "slurm.conf").write_text(text)

    def _launch(self, name: str, env: dict[str, str], programs: Path, *words: str) -> None:
        log = self._folder / f"{name}.log"
        self._processes.append(launch([programs / name, *words], log, env))

    def _is_up(self) -> bool:
        try:
            http = Http(UnixConnection(self._folder / "rest.socket", timeout=5), {})
            nodes: list[Any] = http.json("GET", f"{API}/nodes")["nodes"]
            self.version = str(http.json("GET", f"{API}/ping")["meta"]["Slurm"]["release"])
        except FAILURES:
            return False
        return bool(nodes) and nodes[0]["state"] == "idle"
