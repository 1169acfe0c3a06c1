"""A metric is a line that CloudWatch reads: as the format's specification has it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from chalicelib.domain.census import Load
from chalicelib.domain.repair import Repair, Repaired
from chalicelib.domain.state_change import StateChange
from chalicelib.domain.states import Status
from chalicelib.metrics import Metrics
from tests.builders import JOB_ID, NOW, job, later

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
SPECIFICATION: dict[str, Any] = {
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "properties": {
                "Timestamp": {"type": "integer"},
                "CloudWatchMetrics": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["Namespace", "Dimensions", "Metrics"],
                        "additionalProperties": False,
                        "properties": {
                            "Namespace": {"type": "string", "minLength": 1, "maxLength": 1024},
                            "Dimensions": {
                                "type": "array",
                                "minItems": 1,
                                "items": {
                                    "type": "array",
                                    "maxItems": 30,
                                    "items": {"type": "string", "minLength": 1, "maxLength": 250},
                                },
                            },
                            "Metrics": {
                                "type": "array",
                                "maxItems": 100,
                                "items": {
                                    "type": "object",
                                    "required": ["Name"],
                                    "additionalProperties": False,
                                    "properties": {
                                        "Name": {"type": "string", "minLength": 1, "maxLength": 1024},
                                        "Unit": {"enum": ["Count", "Milliseconds", "None"]},
                                        "StorageResolution": {"enum": [1, 60]},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        }
    },
}


def printed(*repairs: Repaired) -> list[str]:
    out = io.StringIO()
    for one in repairs:
        Metrics("yard", out).repaired(one)
    return out.getvalue().splitlines()


def moved(*changes: StateChange) -> list[Any]:
    out = io.StringIO()
    for one in changes:
        Metrics("yard", out).moved(one)
    return [checked(line) for line in out.getvalue().splitlines()]


def checked(line: str) -> Any:
    """The line, if each of its metrics and dimensions has a value that CloudWatch takes."""
    document = json.loads(line)
    Draft202012Validator(SPECIFICATION).validate(document)
    for directive in document["_aws"]["CloudWatchMetrics"]:
        assert directive["Namespace"] == "Trainyard"
        for name in {name for names in directive["Dimensions"] for name in names}:
            assert isinstance(document[name], str) and 0 < len(document[name]) <= 1024, name
        for metric in directive["Metrics"]:
            assert isinstance(document[metric["Name"]], int), metric
    return document


def metrics(document: Any) -> dict[str, tuple[int, list[list[str]]]]:
    """The line's metrics: each with its value and its sets of dimensions, beyond the instance."""
    return {
        metric["Name"]: (document[metric["Name"]], [names[1:] for names in directive["Dimensions"]])
        for directive in document["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }


def repaired(kind: Repair = Repair.LATE_STOP, tenant: str | None = "acme") -> Repaired:
    return Repaired(kind=kind, job_id=JOB_ID, tenant=tenant, pool="default", why="line 1\nline 2", at=NOW)


@pytest.mark.parametrize("kind", Repair)
def test_the_line_is_as_the_format_wants_it(kind: Repair) -> None:
    (line,) = printed(repaired(kind))
    document = checked(line)
    assert document["_aws"]["Timestamp"] == NOW.timestamp() * 1000
    assert metrics(document) == {"Repairs": (1, [[], ["Kind"]])}


def test_repairs_are_counted_for_each_instance_and_by_kind() -> None:
    lines = [json.loads(line) for line in printed(repaired(), repaired(Repair.JOB_WITHOUT_RECORD, None))]
    assert [(line["Instance"], line["Kind"]) for line in lines] == [
        ("yard", "LateStop"),
        ("yard", "JobWithoutRecord"),
    ]
    directive = lines[0]["_aws"]["CloudWatchMetrics"][0]
    assert directive["Dimensions"] == [["Instance"], ["Instance", "Kind"]]


def test_without_a_stream_of_its_own_it_writes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    Metrics("yard").repaired(repaired())
    assert json.loads(capsys.readouterr().out)["Repairs"] == 1


POOL = [[], ["Pool"]]
STARTED = {"started_at": later(30)}
MOVES: list[tuple[str, StateChange, dict[str, Any]]] = [
    ("new", StateChange(job=job(), was=None), {"Submissions": (1, POOL)}),
    (
        "to running: how long it took, and how old the news is",
        StateChange(job=job(Status.RUNNING, updated_at=later(32), **STARTED), was=Status.PENDING),
        {"TimeToRunning": (30_000, POOL), "SyncLag": (2_000, POOL)},
    ),
    (
        "by a clock that is ahead of ours: not less than nothing",
        StateChange(job=job(Status.RUNNING, updated_at=later(29), **STARTED), was=Status.PENDING),
        {"TimeToRunning": (30_000, POOL), "SyncLag": (0, POOL)},
    ),
    (
        "from start to end between two looks",
        StateChange(
            job=job(Status.SUCCEEDED, finished_at=later(40), updated_at=later(41), **STARTED),
            was=Status.PENDING,
        ),
        {"TimeToRunning": (30_000, POOL), "SyncLag": (1_000, POOL)},
    ),
    (
        "failed",
        StateChange(
            job=job(
                Status.FAILED, reason="OOMKilled", finished_at=later(40), updated_at=later(40), **STARTED
            ),
            was=Status.RUNNING,
        ),
        {"Failures": (1, [*POOL, ["Reason"]]), "SyncLag": (0, POOL)},
    ),
    ("stopping: nobody's news but ours", StateChange(job=job(Status.STOPPING), was=Status.RUNNING), {}),
]


@pytest.mark.parametrize(
    ("change", "expected"), [row[1:] for row in MOVES], ids=[title for title, _, _ in MOVES]
)
def test_a_move_counts_for_what_it_is(change: StateChange, expected: dict[str, Any]) -> None:
    (document,) = moved(change)
    assert metrics(document) == {"Moves": (1, [["To"], ["Pool", "To"]]), **expected}
    assert (document["job_id"], document["tenant"]) == (JOB_ID, "acme")
    assert document["_aws"]["Timestamp"] == change.job.updated_at.timestamp() * 1000


def test_loads_are_of_all_of_a_pool_and_of_a_tenant_in_it() -> None:
    out = io.StringIO()
    loads = [Load(active=3, pending=1, gpus=4), Load(pool="a", active=3), Load(pool="a", tenant="t", gpus=4)]
    Metrics("yard", out).loads(loads, NOW)
    documents = [checked(line) for line in out.getvalue().splitlines()]
    assert [metrics(document)["Gpus"] for document in documents] == [
        (4, [[]]),
        (0, [["Pool"]]),
        (4, [["Pool", "Tenant"]]),
    ]
    assert [document["ActiveJobs"] for document in documents] == [3, 3, 0]


def test_a_cluster_that_cannot_be_looked_at_counts_for_its_pool() -> None:
    out = io.StringIO()
    Metrics("yard", out).unreachable("a100", "no answer " * 1000, NOW)
    document = checked(out.getvalue())
    assert metrics(document) == {"ClusterFailures": (1, POOL)}
    assert document["why"].startswith("no answer") and len(document["why"]) <= 1000
