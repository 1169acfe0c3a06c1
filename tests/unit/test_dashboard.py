"""The dashboard and the saved queries are such as CloudWatch reads, and show what there is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from infra.local import template
from infra.local.config import RESOURCES

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
            assert len(metric) % 2 == 0, "a namespace, a metric, and pairs of a dimension and its value"


def test_every_metric_with_an_alarm_is_on_the_dashboard() -> None:
    shown = {metric[1] for widget in WIDGETS for metric in widget["properties"]["metrics"] if len(metric) > 1}
    alarms = [
        body["Properties"]
        for body in RESOURCES_BY_NAME.values()
        if body.get("Type") == "AWS::CloudWatch::Alarm"
    ]
    # Whether the sync was started is not a matter of how often.
    assert {alarm["MetricName"] for alarm in alarms} - shown == {"Invocations"}


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
