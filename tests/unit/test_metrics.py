"""A repair's metric is a line that CloudWatch reads: as the format's specification has it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from chalicelib.domain.repair import Repair, Repaired
from chalicelib.metrics import RepairMeter
from tests.builders import JOB_ID, NOW

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
    meter = RepairMeter("yard", out)
    for one in repairs:
        meter(one)
    return out.getvalue().splitlines()


def repaired(kind: Repair = Repair.LATE_STOP, tenant: str | None = "acme") -> Repaired:
    return Repaired(kind=kind, job_id=JOB_ID, tenant=tenant, pool="default", why="line 1\nline 2", at=NOW)


@pytest.mark.parametrize("kind", Repair)
def test_the_line_is_as_the_format_wants_it(kind: Repair) -> None:
    (line,) = printed(repaired(kind))
    document = json.loads(line)
    Draft202012Validator(SPECIFICATION).validate(document)
    assert document["_aws"]["Timestamp"] == NOW.timestamp() * 1000
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Trainyard"
    for name in {name for names in directive["Dimensions"] for name in names}:
        assert isinstance(document[name], str) and 0 < len(document[name]) <= 1024, "a target of a dimension"
    for metric in directive["Metrics"]:
        assert document[metric["Name"]] == 1, "a target of a metric"


def test_repairs_are_counted_for_each_instance_and_by_kind() -> None:
    lines = [json.loads(line) for line in printed(repaired(), repaired(Repair.JOB_WITHOUT_RECORD, None))]
    assert [(line["Instance"], line["Kind"]) for line in lines] == [
        ("yard", "LateStop"),
        ("yard", "JobWithoutRecord"),
    ]
    directive = lines[0]["_aws"]["CloudWatchMetrics"][0]
    assert directive["Dimensions"] == [["Instance"], ["Instance", "Kind"]]


def test_without_a_stream_of_its_own_it_writes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    RepairMeter("yard")(repaired())
    assert json.loads(capsys.readouterr().out)["Repairs"] == 1
