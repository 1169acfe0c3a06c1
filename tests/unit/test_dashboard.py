"""The dashboard and the saved queries are such as CloudWatch reads, and show what there is."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from chalicelib.domain.census import Load
from chalicelib.domain.repair import Repair, Repaired
from chalicelib.domain.state_change import StateChange
from chalicelib.domain.states import Status
from chalicelib.metrics import Metrics
from infra.local import template
from infra.local.config import RESOURCES
from tests.builders import JOB_ID, NOW, job

RESOURCES_BY_NAME: Mapping[str, Any] = template.read(RESOURCES)["Resources"]
BODY = RESOURCES_BY_NAME["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
WIDGETS = json.loads(BODY)["widgets"]
QUERIES = {
    name: body["Properties"]
    for name, body in RESOURCES_BY_NAME.items()
    if body.get("Type") == "AWS::Logs::QueryDefinition"
}


@pytest.mark.parametrize("widget", WIDGETS, ids=[widget["properties"]["title"] for widget in WIDGETS])
def test_a_widget_has_what_cloudwatch_wants_of_it(widget: Mapping[str, Any]) -> None:
    assert widget["type"] == "metric"
    assert 1 <= widget["width"] <= 24
    shown = widget["properties"]
    assert shown["metrics"] and shown["region"] == "${AWS::Region}" and shown["stat"]
    for metric in shown["metrics"]:
        if isinstance(metric[0], str):
            names = [part for part in metric if isinstance(part, str)]
            assert len(names) % 2 == 0, "a namespace, a metric, and pairs of a dimension and its value"


def test_every_metric_with_an_alarm_is_on_the_dashboard() -> None:
    shown = {metric[1] for widget in WIDGETS for metric in widget["properties"]["metrics"] if len(metric) > 1}
    alarms = [
        body["Properties"]
        for body in RESOURCES_BY_NAME.values()
        if body.get("Type") == "AWS::CloudWatch::Alarm"
    ]
    # Whether the sync was started is not a matter of how often.
    assert {alarm["MetricName"] for alarm in alarms} - shown == {"Invocations"}


def printed() -> set[tuple[str, tuple[str, ...]]]:
    """Every metric that Trainyard prints, with each of its sets of dimensions."""
    out = io.StringIO()
    metrics = Metrics("yard", out)
    metrics.moved(StateChange(job=job(), was=None))
    ended = {"started_at": NOW, "finished_at": NOW}
    metrics.moved(StateChange(job=job(Status.FAILED, **ended), was=Status.PENDING))
    metrics.loads([Load(), Load(pool="a"), Load(pool="a", tenant="t")], NOW)
    metrics.unreachable("a", "no answer", NOW)
    metrics.repaired(
        Repaired(kind=Repair.LATE_STOP, job_id=JOB_ID, tenant="t", pool="a", why="it was late", at=NOW)
    )
    return {
        (metric["Name"], tuple(names))
        for line in out.getvalue().splitlines()
        for directive in json.loads(line)["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
        for names in directive["Dimensions"]
    }


def test_what_is_shown_and_alarmed_of_our_own_metrics_is_printed() -> None:
    wanted = {
        (alarm["Properties"]["MetricName"], tuple(each["Name"] for each in alarm["Properties"]["Dimensions"]))
        for alarm in RESOURCES_BY_NAME.values()
        if alarm.get("Properties", {}).get("Namespace") == "Trainyard"
    }
    for widget in WIDGETS:
        for metric in widget["properties"]["metrics"]:
            if metric[0] == "Trainyard":
                wanted.add((metric[1], (metric[2],)))
            elif isinstance(metric[0], dict):
                found = re.match(
                    r"SEARCH\('{Trainyard,([A-Za-z,]+)} MetricName=\"(\w+)\"", metric[0]["expression"]
                )
                assert found
                wanted.add((found[2], tuple(found[1].split(","))))
    assert wanted <= printed()
    assert {name for name, _ in printed()} - {name for name, _ in wanted} == {"Moves"}


def test_every_function_is_shown_and_searched_for_errors() -> None:
    functions = {
        alarm["Properties"]["Dimensions"][0]["Value"]["Ref"]
        for name, alarm in RESOURCES_BY_NAME.items()
        if name.endswith("ErrorsAlarm")
    }
    shown = {
        metric[3]
        for widget in WIDGETS
        for metric in widget["properties"]["metrics"]
        if metric[1:2] == ["Errors"]
    }
    assert shown == {f"${{{name}}}" for name in functions}
    searched = template.references(QUERIES["ErrorsQuery"]["LogGroupNames"])
    assert set(searched) == {f"{name}Logs" for name in functions}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_one_of_known_commands(name: str) -> None:
    commands = [line.strip("| ").split()[0] for line in QUERIES[name]["QueryString"].splitlines()]
    assert commands[0] == "fields" or commands[0] == "filter"
    assert set(commands) <= {"fields", "filter", "sort", "limit", "stats"}
    assert re.fullmatch(r"\$\{AWS::StackName\}/[a-z ]+", QUERIES[name]["Name"]["Fn::Sub"])
