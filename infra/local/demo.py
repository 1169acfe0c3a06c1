"""`make demo`: a real training job through the HTTP API, watched to its end.

It uses the stack that `make up` left running, or one of its own on free ports that it takes down again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from infra.local import config, stack, tokens
from infra.local.config import DEFAULT_TENANT, HOST, REPO, BadConfig, Local
from infra.local.stack import StackFailed

EXAMPLE = REPO / "examples" / "digits"
JOBS = "/api/v1/training/jobs"
DEADLINE_SECONDS = 180
FINAL = ("succeeded", "failed", "stopped")


class DemoFailed(RuntimeError):
    """The demo did not get where it should; the message says why and where to look."""


@dataclass
class Api:
    """The HTTP API of a stack as one user."""

    url: str
    token: str
    _opener: urllib.request.OpenerDirector = field(
        default_factory=lambda: urllib.request.build_opener(urllib.request.ProxyHandler({}))
    )

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer's `data`. Raises DemoFailed for anything but success."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                "Accept-Language": "en",
            },
        )
        try:
            with self._opener.open(request, timeout=30) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise DemoFailed(f"{method} {path} answered {error.code}: {said}") from error
        except OSError as error:
            raise DemoFailed(f"{method} {path}: {error}") from error


class Screen:
    """What the demo prints: one line an event, with the seconds since it began."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f}s  {text}", flush=True)


def demo(screen: Screen) -> float:
    """Run it; returns the model's accuracy. Raises DemoFailed, StackFailed."""
    with _stack(screen) as local:
        api = Api(local.url, tokens.token(local, DEFAULT_TENANT, ["member"]))
        body = json.loads((EXAMPLE / "job.json").read_text())
        workspace = local.volumes / f"trainyard-{DEFAULT_TENANT}" / f"workspace-{body['workspace_id']}"
        _place_script(workspace / "train.py")
        screen.say(f"POST {JOBS}  ({EXAMPLE.relative_to(REPO)}/job.json)")
        job_id = api.call("POST", JOBS, body)["job_id"]
        screen.say(f"created {job_id}")
        job = _watch(api, job_id, screen, local)
        return _accuracy(job, job_id)


def _place_script(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(EXAMPLE / "train.py", target)
    # The container's user is not the one who put the script there.
    target.parent.chmod(0o777)
    target.chmod(0o644)


def _watch(api: Api, job_id: str, screen: Screen, local: Local) -> dict[str, Any]:
    """Print what changes, and follow the log to its end."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    cursor, last = "start", ("", "", "")
    while True:
        job: dict[str, Any] = api.call("GET", f"{JOBS}/{job_id}")
        now = (job["status"], job["reason"], job["message"])
        if now != last:
            screen.say(f"{job['status']:<9} {job['reason']}: {job['message']}")
            last = now
        page = api.call("GET", f"{JOBS}/{job_id}/logs?follow=true&wait=1&cursor={cursor}")
        for line in page["logs"]:
            screen.say(f"    | {line}")
        cursor = page["cursor"]
        if job["status"] in FINAL and page["finished"]:
            return job
        if time.monotonic() > deadline:
            raise DemoFailed(f"the job is not over after {DEADLINE_SECONDS} s; see {local.logs}/")


def _accuracy(job: Mapping[str, Any], job_id: str) -> float:
    if job["status"] != "succeeded":
        raise DemoFailed(f"{job_id} {job['status']}: {job['reason']}: {job['message']}")
    metrics = job.get("metrics") or {}
    if "accuracy" not in metrics:
        raise DemoFailed(f"{job_id} succeeded, but the job has no metrics: {job}")
    return float(metrics["accuracy"])


@contextmanager
def _stack(screen: Screen) -> Iterator[Local]:
    usual = config.load()
    if usual.embedded_cluster and all(stack.status(usual).values()):
        running = replace(usual, port=int(stack.variables(usual)["TRAINYARD_URL"].rpartition(":")[2]))
        screen.say(f"using the stack at {running.url}")
        yield running
        return
    ports = _free_ports(4)
    local = replace(
        usual,
        home=usual.home / "demo",
        given_kubeconfig=None,
        port=ports[0],
        aws_port=ports[1],
        kubernetes_port=ports[2],
        terminal_port=ports[3],
    )
    stack.down(local, say=_hush)  # one that a killed demo left behind
    shutil.rmtree(local.home, ignore_errors=True)
    screen.say("starting a stack: MiniStack (AWS), a Kubernetes of local processes, the API, the event pump")
    try:
        stack.up(local, say=_hush)
        screen.say(f"the API is at {local.url}")
        yield local
    finally:
        stopped = stack.down(local, say=_hush)
    screen.say(f"stopped {', '.join(stopped)}")


def _hush(_: str) -> None:
    """The demo says what is going on itself."""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def main() -> int:
    # As Ctrl-C: the stack is taken down on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = Screen()
    try:
        accuracy = demo(screen)
    except (DemoFailed, StackFailed, BadConfig) as error:
        print(f"\ndemo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # nobody watches any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    print(f"\nThe job succeeded. Accuracy on images it had not seen: {accuracy:.1%}")
    print("Next: `make up` keeps a stack running; README.md shows what to do with it.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
