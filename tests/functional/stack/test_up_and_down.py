"""`make up` and `make down` on real processes: what they print, repair, refuse and leave behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.local import ministack, processes
from infra.local.config import HOST, REPO
from tests.stack import RunningStack, free_ports

COMPONENTS = ["ministack", "shipper", "kubernetes", "pump", "terminal", "gateway"]
PRINTED = [
    "TRAINYARD_URL",
    "TRAINYARD_TOKEN",
    "KUBECONFIG",
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
]


def command(stack: RunningStack, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.local.stack", *arguments],
        env={**stack.environ, **environ},
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def api(stack: RunningStack, method: str, path: str, **body: Any) -> requests.Response:
    return requests.request(
        method,
        stack.url + path,
        json=body or None,
        headers={"Authorization": f"Bearer {stack.token()}"},
        timeout=30,
    )


def create_job(stack: RunningStack, *words: str) -> str:
    answer = api(
        stack,
        "POST",
        "/api/jobs/create",
        jobName="a job",
        image="python:3.11",
        command=list(words),
        resources={"cpu": 1, "memory": 268435456, "gpu": 0},
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["jobId"])


def status_of(stack: RunningStack, job_id: str) -> str:
    return str(api(stack, "GET", f"/api/jobs/{job_id}").json()["data"]["status"])


def ends(stack: RunningStack, job_id: str, status: str) -> bool:
    return processes.wait_until(lambda: status_of(stack, job_id) == status, 60)


def test_a_second_up_starts_nothing_and_prints_the_same(stack: RunningStack) -> None:
    pids = {name: stack.pid(name) for name in COMPONENTS}
    again = command(stack, "up")
    assert again.returncode == 0, again.stderr
    assert [line.split("=")[0] for line in again.stdout.splitlines()] == PRINTED
    assert again.stderr.count("running already") == len(COMPONENTS)
    assert {name: stack.pid(name) for name in COMPONENTS} == pids


def test_what_up_prints_is_in_the_env_file_for_its_owner_only(stack: RunningStack) -> None:
    again = command(stack, "up")
    assert stack.local.env_file.read_text() == again.stdout
    assert stat.S_IMODE(stack.local.env_file.stat().st_mode) == 0o600


def test_a_shell_that_exported_the_variables_changes_nothing(stack: RunningStack) -> None:
    pids = {name: stack.pid(name) for name in COMPONENTS}
    assert command(stack, "up", **stack.env).returncode == 0
    assert {name: stack.pid(name) for name in COMPONENTS} == pids


def test_the_printed_token_opens_the_api(stack: RunningStack) -> None:
    answer = requests.get(
        stack.env["TRAINYARD_URL"] + "/api/v1/training/jobs",
        headers={"Authorization": f"Bearer {stack.env['TRAINYARD_TOKEN']}"},
        timeout=10,
    )
    assert answer.json()["code"] == 0


def test_every_answer_has_its_line_in_the_gateways_log(stack: RunningStack) -> None:
    answer = api(stack, "GET", "/api/jobs/none?secret=1")
    asked = answer.headers["x-amzn-RequestId"]

    def lines() -> list[dict[str, Any]]:
        told = [json.loads(line) for line in stack.log("gateway").splitlines() if line.startswith("{")]
        return [line for line in told if line["request"] == asked]

    assert processes.wait_until(lambda: bool(lines()), 30)
    (line,) = lines()
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/jobs/none", answer.status_code)


def test_every_server_listens_on_this_machine_only(stack: RunningStack) -> None:
    local = stack.local
    ports = {local.port, local.aws_port, local.kubernetes_port, local.terminal_port}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = {
        fields[1].split(":")[0]
        for fields in lines
        if fields[3] == "0A" and int(fields[1].split(":")[1], 16) in ports
    }
    assert addresses == {"0100007F"}


def test_a_job_runs_from_end_to_end(stack: RunningStack) -> None:
    job_id = create_job(stack, "python", "-c", "print('hello', flush=True)")
    assert ends(stack, job_id, "Succeeded")


def test_status_says_what_runs(stack: RunningStack) -> None:
    said = command(stack, "status")
    assert said.returncode == 0
    assert [line.split()[:2] for line in said.stdout.splitlines()] == [
        [name, "running"] for name in COMPONENTS
    ]


def test_a_job_of_a_dead_pump_is_submitted_when_the_pump_is_back(stack: RunningStack) -> None:
    stack.kill("pump")
    job_id = create_job(stack, "true")
    assert status_of(stack, job_id) == "Pending"
    stack.start("pump")
    assert ends(stack, job_id, "Succeeded")


@pytest.mark.parametrize("component", ["gateway", "kubernetes", "pump"])
def test_a_component_that_was_killed_is_brought_back_and_the_job_ends_right(
    stack: RunningStack, component: str
) -> None:
    job_id = create_job(stack, "sleep", "4")
    assert ends(stack, job_id, "Running")
    others = {name: stack.pid(name) for name in COMPONENTS if name != component}
    stack.kill(component)
    assert command(stack, "status").returncode == 3
    stack.start(component)
    assert {name: stack.pid(name) for name in COMPONENTS if name != component} == others
    assert ends(stack, job_id, "Succeeded")


def test_records_and_jobs_outlive_a_clean_stop_of_ministack(stack: RunningStack) -> None:
    running, waiting = create_job(stack, "sleep", "5"), []
    assert ends(stack, running, "Running")
    stack.kill("ministack", signal.SIGTERM)
    stack.start("ministack")
    # The stream is another one now, which the pump must read from its first record.
    waiting = [create_job(stack, "true") for _ in range(5)]
    assert all(ends(stack, job_id, "Succeeded") for job_id in [running, *waiting])


def test_a_killed_ministack_loses_its_last_records_and_the_stack_works_on(stack: RunningStack) -> None:
    create_job(stack, "true")
    stack.kill("ministack")
    stack.start("ministack")
    assert ends(stack, create_job(stack, "true"), "Succeeded")


def test_a_hundred_records_are_there_after_down_and_up(stack: RunningStack) -> None:
    dynamodb = ministack.client(stack.local, "dynamodb")
    table = ministack.deployed(stack.local).jobs_table
    for number in range(100):
        item = {"pk": {"S": f"TEST#{number}"}, "sk": {"S": "TEST"}, "id": {"S": f"test-{number}"}}
        dynamodb.put_item(TableName=table, Item=item | {"list_tenant": {"S": "kept"}})
    assert stack.stop() == ["gateway", "terminal", "pump", "kubernetes", "shipper", "ministack"]
    stack.start()
    found = dynamodb.query(
        TableName=table,
        IndexName="by-tenant",
        KeyConditionExpression="list_tenant = :tenant",
        ExpressionAttributeValues={":tenant": {"S": "kept"}},
        Select="COUNT",
    )
    assert found["Count"] == 100
    assert ends(stack, create_job(stack, "true"), "Succeeded")


def test_down_leaves_no_process_and_a_second_down_has_nothing_to_do(stack: RunningStack) -> None:
    seconds = "86391.25"  # nobody else sleeps that long
    job_id = create_job(stack, "sleep", seconds)
    assert ends(stack, job_id, "Running")
    assert any(seconds in words for words in _command_lines())
    assert command(stack, "down").returncode == 0
    left = [w for w in _command_lines() if str(stack.local.home) in w or seconds in w]
    assert left == []
    assert "nothing was running" in command(stack, "down").stderr
    stack.start()


def test_a_taken_port_is_named_before_anything_is_started(home: Path) -> None:
    ports = free_ports(4)
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("TRAINYARD_", "AWS_", "KUBECONFIG"))}
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = subprocess.run(
            [sys.executable, "-m", "infra.local.stack", "up"],
            env=environ
            | {
                "TRAINYARD_HOME": str(home),
                "TRAINYARD_PORT": str(port),
                "TRAINYARD_AWS_PORT": str(ports[1]),
                "TRAINYARD_KUBERNETES_PORT": str(ports[2]),
                "TRAINYARD_TERMINAL_PORT": str(ports[3]),
            },
            cwd=REPO,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (said.returncode, said.stdout) == (1, "")
    assert f"port {port} (for gateway) is taken by" in said.stderr
    assert f"(pid {os.getpid()})" in said.stderr
    assert "TRAINYARD_PORT" in said.stderr
    assert not list((home / "run").glob("*.pid"))


def test_a_component_that_does_not_start_shows_its_log_and_stops_the_rest(home: Path) -> None:
    ports = free_ports(4)
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("TRAINYARD_", "AWS_", "KUBECONFIG"))}
    said = subprocess.run(
        [sys.executable, "-m", "infra.local.stack", "up"],
        env=environ
        | {
            "TRAINYARD_HOME": str(home),
            "TRAINYARD_PORT": str(ports[0]),
            "TRAINYARD_AWS_PORT": str(ports[1]),
            "TRAINYARD_KUBERNETES_PORT": str(ports[2]),
            "TRAINYARD_TERMINAL_PORT": str(ports[3]),
            "TRAINYARD_POOLS": "{not json",
        },
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stdout) == (1, "")
    assert "TRAINYARD_POOLS: not JSON" in said.stderr
    assert [words for words in _command_lines() if str(home) in words] == []
    assert not list((home / "run").glob("*.pid"))


def _command_lines() -> list[str]:
    """Command lines and environments of everything that runs here."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == str(os.getpid()):
            continue
        try:
            words = (folder / "cmdline").read_bytes() + b"\0" + (folder / "environ").read_bytes()
        except OSError:
            continue
        found.append(words.decode(errors="replace"))
    return found
