"""Every alarm of the stack says what it means and where the runbook says what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from infra.local import template
from infra.local.config import REPO, RESOURCES

RUNBOOK = REPO / "docs" / "runbook.md"
BODY = template.read(RESOURCES)
ALARMS: Mapping[str, Mapping[str, Any]] = {
    name: body["Properties"]
    for name, body in BODY["Resources"].items()
    if body.get("Type") == "AWS::CloudWatch::Alarm"
}
# A person calls it, and sees what it says.
CALLED_BY_HAND = {"Recount"}


def sections() -> Mapping[str, str]:
    """The runbook's sections by their anchors."""
    parts = re.split(r"^## (.+)$", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    titles, texts = parts[::2], parts[1::2]
    return {title.lower().replace(" ", "-"): text for title, text in zip(titles, texts, strict=True)}


def named(alarm: str) -> tuple[str, str]:
    """What an alarm's description says, and the section that it names."""
    said, _, section = ALARMS[alarm]["AlarmDescription"].partition(" docs/runbook.md#")
    return said, section


def watched(metric: str) -> set[str]:
    """The functions, queues or tables that have an alarm of this metric."""
    alarms = [alarm for alarm in ALARMS.values() if alarm["MetricName"] == metric]
    return set(template.references([alarm["Dimensions"] for alarm in alarms]))


@pytest.mark.parametrize("alarm", ALARMS)
def test_an_alarm_says_in_a_sentence_what_it_means_and_tells_the_topic(alarm: str) -> None:
    said, _ = named(alarm)
    assert re.fullmatch(r"[A-Z][^.]+\.", said), said
    assert ALARMS[alarm]["AlarmActions"] == [{"Ref": "AlarmsTopic"}]


def test_every_alarm_has_its_section_in_the_runbook_and_every_section_an_alarm() -> None:
    assert {named(alarm)[1] for alarm in ALARMS} == set(sections())


@pytest.mark.parametrize("alarm", ALARMS)
def test_the_section_names_the_alarm(alarm: str) -> None:
    text = sections()[named(alarm)[1]]
    kinds = re.findall(r"`(…?)([A-Za-z]+)`", text)
    assert any(alarm == name or (dots and alarm.endswith(name)) for dots, name in kinds)


def test_every_dead_letter_queue_is_watched() -> None:
    queues = {name for name, body in BODY["Resources"].items() if body.get("Type") == "AWS::SQS::Queue"}
    letters = {name for name in queues if name.endswith("DeadLetters")}
    assert watched("ApproximateNumberOfMessagesVisible") == letters
    assert watched("ApproximateAgeOfOldestMessage") == queues - letters


@pytest.mark.parametrize("metric", ["Errors", "Throttles"])
def test_every_function_that_runs_by_itself_is_watched(metric: str) -> None:
    config = template.read(REPO / ".chalice" / "config.json")
    names = {name.title().replace("_", "") for name in config["stages"]["dev"]["lambda_functions"]}
    functions = {"APIHandler" if name == "ApiHandler" else name for name in names}
    assert watched(metric) == functions - CALLED_BY_HAND


def test_mail_goes_to_nobody_unless_an_address_is_given() -> None:
    pattern = BODY["Parameters"]["AlarmEmail"]["AllowedPattern"]
    assert all(re.fullmatch(pattern, right) for right in ("", "ops@example.com"))
    assert not any(re.fullmatch(pattern, wrong) for wrong in ("ops", "a@b, c@d", "@", "a@b@c"))
    assert BODY["Resources"]["AlarmsEmail"]["Condition"] == "AlarmEmailIsGiven"
