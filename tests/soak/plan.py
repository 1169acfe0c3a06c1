"""What a soak submits: drawn from its seed, so that a run can be repeated, and pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

KINDS = (*["succeeds"] * 10, *["fails"] * 4, "fails twice", *["is stopped"] * 4, *["is deleted"] * 3)
FINAL = {"succeeds": "succeeded", "fails": "failed", "fails twice": "failed", "is stopped": "stopped"}
UPLOADED = 0.5  # of all jobs
LONGEST_LIST = 50
# What every job runs: a mark of its start, and a line in its log, come before anything else.
SCRIPT = """
import os, sys, time
with open(os.environ["SOAK_MARK"], "a") as marks:
    marks.write(f"{os.environ['HOSTNAME']} {time.time()}\\n")
print(os.environ["TRAINYARD_JOB_ID"], flush=True)
time.sleep(float(os.environ["SOAK_SECONDS"]))
sys.exit(int(os.environ["SOAK_CODE"]))
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One job that a client wants, and what is done to it. `moment`: the status at which it is stopped or
    deleted, "" for at once."""

    number: int
    kind: str
    seconds: float
    moment: str
    dialect: str

    @property
    def name(self) -> str:
        return f"soak-{self.number:04}"

    @property
    def final(self) -> str | None:
        """Its last status; None when its record goes."""
        return FINAL.get(self.kind)

    @property
    def starts(self) -> range:
        """How often its process may be started."""
        if self.final in ("succeeded", "failed"):
            return range(2, 3) if self.kind == "fails twice" else range(1, 2)
        return range(2)

    def body(self, marks: Path, token: bool = False) -> dict[str, Any]:
        """The job in its dialect's create shape. SCRIPT is beside the marks."""
        size = {"cpu": 1, "memory": 2**26, "gpu": 0}
        told = {"SOAK_MARK": str(marks / self.name), "SOAK_SECONDS": str(self.seconds)}
        env = told | {"SOAK_CODE": "3" if "fails" in self.kind else "0"}
        retries, script = int(self.kind == "fails twice"), f"{marks}.py"
        if self.dialect == "jobs":
            body: dict[str, Any] = {"jobName": self.name, "image": "python", "command": ["python", script]}
            body |= {"resources": size, "maxRetries": retries, "env": env}
            return body | ({"clientToken": self.name} if token else {})
        body = {"name": self.name, "framework": "pytorch", "script_path": script, **size}
        body |= {"max_retries": retries, "env": env}
        return body | ({"client_token": self.name} if token else {})


@dataclass(frozen=True, slots=True)
class File:
    """A file of jobs. `tokens`: each has a clientToken, so that the file may be uploaded again."""

    name: str
    jobs: Sequence[Wanted]
    tokens: bool

    def content(self, marks: Path) -> str:
        bodies = [job.body(marks, self.tokens) for job in self.jobs]
        if self.name.endswith(".json"):
            return json.dumps(bodies[0] if len(bodies) == 1 else bodies)
        return "".join(f"---\n{json.dumps(body)}\n" for body in bodies)  # which is YAML too


Submission = Wanted | File


def draw(jobs: int, seed: int, at_once: bool = True) -> list[Submission]:
    """That many jobs, by API and in files, in the order in which they are submitted. `at_once`: some are
    stopped or deleted before they are handed to the cluster, which takes Trainyard half a minute."""
    random = Random(seed)
    wanted = [_job(number, random, at_once) for number in range(jobs)]
    uploaded = wanted[: round(jobs * UPLOADED)]
    submissions: list[Submission] = [*wanted[len(uploaded) :], *_files(uploaded, random)]
    random.shuffle(submissions)
    return submissions


def _job(number: int, random: Random, at_once: bool) -> Wanted:
    kind = random.choice(KINDS)
    ends = FINAL.get(kind) in ("succeeded", "failed")
    moments = ["running", *[""] * at_once, *["succeeded"] * (kind == "is deleted")]
    moment = "" if ends else random.choice(moments)
    lasts = ends or moment == "succeeded"
    seconds = round(random.uniform(0, 8), 2) if lasts else 3600
    return Wanted(number, kind, seconds, moment, random.choice(["jobs", "training-v1"]))


def _files(jobs: Sequence[Wanted], random: Random) -> Iterator[File]:
    number = 0
    while jobs:
        size = random.choice([1, 1, random.randint(10, LONGEST_LIST)])
        some, jobs, number = jobs[:size], jobs[size:], number + 1
        ending = random.choice(["json", "yaml", "yml"])
        yield File(f"file-{number:03}.{ending}", some, tokens=bool(number % 2))
