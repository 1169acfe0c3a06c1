"""What may grow with the number of jobs, and what may not. docs/performance.md has the figures of 100,000."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from tests.benchmarks.growth import follow, lists, sync, table
from tests.benchmarks.growth.tables import Row, grown

FEW, MANY = 100, 600
Figures = Mapping[str, Mapping[str, float]]  # by what they are of


@pytest.fixture(scope="module")
def listed() -> Mapping[int, Figures]:
    return {number: _by_name(lists.rows(number)) for number in (FEW, MANY)}


@pytest.fixture(scope="module")
def synced() -> Mapping[int, Figures]:
    return {number: _by_name(sync.rows(number)) for number in (FEW, MANY)}


@pytest.fixture(scope="module")
def followed() -> Mapping[int, Figures]:
    return {number: _by_name(follow.rows(number)) for number in (1, 5)}


@pytest.mark.parametrize("name", ["first page", "by status", "by workspace and status"])
def test_a_first_page_reads_what_it_shows_and_its_counters(name: str, listed: Mapping[int, Figures]) -> None:
    for number in (FEW, MANY):
        figures = listed[number][f"list, {name}"]
        assert (figures["requests"], figures["read"]) == (2, figures["returned"] + 1)


def test_a_total_is_one_request_at_any_number(listed: Mapping[int, Figures]) -> None:
    name = "list, totals alone (behind the last page)"
    assert listed[FEW][name] == listed[MANY][name]
    assert listed[MANY][name]["requests"] == 1


def test_a_deep_page_reads_what_it_passes_and_a_filter_all(listed: Mapping[int, Figures]) -> None:
    middle = listed[MANY]["list, the page in the middle"]
    assert middle["read"] == MANY / 2 + lists.PAGE + 1
    assert listed[MANY]["list, by keyword, one in 100 has it"]["read"] == MANY


def test_a_pass_over_active_jobs_asks_for_them_in_hundreds_and_five_hundreds(
    synced: Mapping[int, Figures],
) -> None:
    for number in (FEW, MANY):
        figures = synced[number]["sync, a pass over active jobs, all in step"]
        # Four Queries for the ids, and the lease.
        assert figures["requests to DynamoDB"] == 4 + 1 + math.ceil(number / 100)
        assert figures["items read"] == 2 * number, "an index entry and a record each"
        assert figures["pages of Jobs and pods"] == 2 * math.ceil(number / 500)


def test_jobs_that_just_run_are_read_once_a_minute(synced: Mapping[int, Figures]) -> None:
    name = "sync, a minute with active jobs, none changing"
    few, many = synced[FEW][name], synced[MANY][name]
    assert many["items read"] - few["items read"] == 2 * (MANY - FEW)
    same = ("write units", "watches opened")
    assert {what: many[what] for what in same} == {what: few[what] for what in same}


def test_where_nothing_changes_no_record_is_written(synced: Mapping[int, Figures]) -> None:
    for figures in synced[MANY].values():
        assert figures["records written"] == 0


def test_finished_jobs_are_read_once_by_a_process(synced: Mapping[int, Figures]) -> None:
    again = "sync, the same, by one that has seen them"
    assert synced[MANY][again]["items read"] == 0
    idle = "sync, an idle minute"
    assert synced[FEW][idle] == synced[MANY][idle]
    assert synced[MANY][idle]["requests to DynamoDB"] == 4


def test_viewers_of_one_log_share_what_cloudwatch_is_asked(followed: Mapping[int, Figures]) -> None:
    name = "follow, viewers of one log whose pod is gone, quiet"
    assert followed[1][name]["Logs"] == followed[5][name]["Logs"] > 0


@pytest.mark.parametrize("name", ["one running log, a line each 10 s", "as many running logs, the same"])
def test_viewers_of_running_logs_ask_no_more_each(name: str, followed: Mapping[int, Figures]) -> None:
    one, five = (followed[number][f"follow, viewers of {name}"] for number in (1, 5))
    assert five == {what: 5 * figure for what, figure in one.items()}
    assert one["Logs"] == 0, "what runs is read from its node"


def test_a_job_writes_seven_times_to_the_one_partition_of_all_jobs() -> None:
    """docs/performance.md: the first of the table to give way."""
    life = table.life()
    assert sum(step.into_all for step in life) <= 7
    assert max(step.units for step in life) <= 4, "a record of at most 2 KB"


def test_what_jobs_keep_grows_as_they_do() -> None:
    (few,), (many,) = table.rows(10), table.rows(100)
    name = "MB of all, with their index entries"
    assert many.figures[name] == pytest.approx(10 * few.figures[name])


def test_a_table_says_what_stays_the_same_and_leaves_out_what_is_nothing() -> None:
    figures: list[dict[str, Any]] = [{"flat": 2, "steep": 1, "none": 0}, {"flat": 2, "steep": 10, "none": 0}]
    text = grown([Row("list", 10 * n, each) for n, each in enumerate(figures, start=1)], "jobs")
    assert text.splitlines()[2:] == ["| list | flat | 2 | the same |", "| list | steep | 1 | 10 |"]


def _by_name(rows: Any) -> Figures:
    return {row.what: row.figures for row in rows}
