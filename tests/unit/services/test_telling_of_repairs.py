"""The bus is told of repairs as well as can be, and never in their way; what it is told fits the schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber
from jsonschema import Draft202012Validator

from chalicelib.aws import REPAIR_DETAIL_TYPE, SOURCE, EventBridge, client
from chalicelib.aws_session import AwsSession
from chalicelib.domain.repair import Repair, Repaired
from chalicelib.errors import BusUnavailable
from chalicelib.services.repairs import PATIENCE, PAUSE, Repairs
from tests.builders import NOW
from tests.unit.services.conftest import Yard
from tests.unit.services.drifts import Drift, every_drift, not_stopped, settle, told
from tests.unit.store.support import client_error

SCHEMA = Path(__file__).parents[3] / "docs/events/training-job-repair.schema.json"
VALIDATOR = Draft202012Validator(
    json.loads(SCHEMA.read_text()), format_checker=Draft202012Validator.FORMAT_CHECKER
)


def repaired(number: int = 0, **changes: Any) -> Repaired:
    values: dict[str, Any] = {
        "kind": Repair.LATE_STOP,
        "job_id": f"job-{number:026}",
        "tenant": "acme",
        "pool": "default",
        "why": "a stop was requested, and nobody carried it out in time",
        "at": NOW,
    }
    return Repaired(**(values | changes))


class Bus:
    """Keeps what it takes. `refused` are the jobs that it does not take, `troubles` how its next calls fail:
    before they take anything, or after."""

    def __init__(self, refused: Sequence[str] = (), troubles: Sequence[str] = ()) -> None:
        self.kept: list[str] = []
        self.calls = 0
        self.refused, self.troubles = list(refused), list(troubles)

    def __call__(self, repairs: Sequence[Repaired]) -> Sequence[bool]:
        self.calls += 1
        trouble = self.troubles.pop(0) if self.troubles else ""
        if trouble == "before":
            raise BusUnavailable("no answer")
        self.kept += [one.job_id for one in repairs if one.job_id not in self.refused]
        if trouble == "after":
            raise BusUnavailable("the answer is lost")
        return [one.job_id not in self.refused for one in repairs]


def noted(yard: Yard, bus: Bus, *repairs: Repaired) -> Repairs:
    """They were made, and nothing was published yet."""
    yard.clock.now = NOW
    notes = Repairs(yard.store, yard.metered.append, bus, yard.clock)
    for one in repairs:
        notes.note(one, has_callers=False)
    return notes


def test_nothing_to_tell_asks_nothing_of_the_bus(yard: Yard) -> None:
    bus = Bus()
    noted(yard, bus).publish()
    assert bus.calls == 0


def test_repairs_are_published_ten_at_a_time_and_once(yard: Yard) -> None:
    bus = Bus()
    twelve = [repaired(number) for number in range(12)]
    notes = noted(yard, bus, *twelve)
    notes.publish()
    notes.publish()
    assert bus.kept == [one.job_id for one in twelve]
    assert bus.calls == 2


@pytest.mark.parametrize(("trouble", "times"), [("before", 1), ("after", 2)])
def test_a_bus_in_trouble_is_left_alone_for_a_while_and_then_told_again(
    yard: Yard, trouble: str, times: int
) -> None:
    bus = Bus(troubles=[trouble])
    notes = noted(yard, bus, repaired())
    notes.publish()
    notes.publish()
    assert bus.calls == 1
    yard.clock.move(PAUSE.total_seconds())
    notes.publish()
    assert bus.kept == [repaired().job_id] * times


def test_what_the_bus_refuses_is_told_again(yard: Yard) -> None:
    throttled = repaired()
    bus = Bus(refused=[throttled.job_id])
    notes = noted(yard, bus, throttled)
    notes.publish()
    bus.refused.clear()
    yard.clock.move(PAUSE.total_seconds())
    notes.publish()
    assert bus.kept == [throttled.job_id]


def test_what_the_bus_refuses_holds_no_other_back_and_is_given_up_in_the_end(yard: Yard) -> None:
    bad, good = repaired(0), repaired(1)
    bus = Bus(refused=[bad.job_id])
    notes = noted(yard, bus, bad, good)
    notes.publish()
    assert bus.kept == [good.job_id]
    yard.clock.move(PATIENCE.total_seconds())
    notes.publish()
    calls = bus.calls
    yard.clock.move(PAUSE.total_seconds())
    notes.publish()
    assert bus.calls == calls


def test_a_store_that_does_not_answer_leaves_the_bus_and_the_metric_told(yard: Yard) -> None:
    bus = Bus()
    notes = noted(yard, bus)
    yard.bench.spy.fail("batch_get_item", client_error("InternalServerError"))
    notes.note(repaired(), has_callers=True)
    notes.publish()
    assert (len(yard.metered), len(bus.kept)) == (1, 1)


def test_a_bus_that_does_not_answer_holds_no_repair_up_and_is_told_later(yard: Yard) -> None:
    job_id = not_stopped(yard)
    yard.bus_is_down = True
    yard.sync.run(yard.seconds(15))
    assert yard.cluster.jobs[job_id].deleting
    assert len(yard.metered) == 1
    assert len(told(yard, job_id)) == 1
    yard.bus_is_down = False
    yard.sync.run(yard.seconds(PAUSE.total_seconds() + 15))
    assert yard.published == yard.metered


# ---- what an event says


def event(one: Repaired) -> dict[str, Any]:
    """As a rule's target gets it."""
    time = one.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    detail = json.loads(json.dumps(one.detail))
    return {"source": SOURCE, "detail-type": REPAIR_DETAIL_TYPE, "time": time, "detail": detail}


@every_drift
def test_an_event_is_as_its_schema_says(yard: Yard, drift: Drift) -> None:
    drift.happens(yard)
    settle(yard)
    VALIDATOR.validate(event(yard.published[0]))


def test_the_schema_knows_every_kind_and_refuses_what_is_not_an_event_of_ours() -> None:
    for kind in Repair:
        VALIDATOR.validate(event(repaired(kind=kind)))
    right = event(repaired())
    for field in right["detail"]:
        without = {key: value for key, value in right["detail"].items() if key != field}
        assert not VALIDATOR.is_valid({**right, "detail": without}), field
    for field, wrong in {"kind": "Miracle", "id": "", "tenant": 1, "at": "now", "why": ""}.items():
        assert not VALIDATOR.is_valid({**right, "detail": {**right["detail"], field: wrong}}), field


def test_the_bus_gets_each_repair_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    events = client(AwsSession(), "events")
    entry = {
        "EventBusName": "changes",
        "Source": "trainyard",
        "DetailType": "Training Job Repair",
        "Time": NOW,
        "Detail": json.dumps(repaired().detail),
    }
    with Stubber(events) as stub:
        stub.add_response("put_events", {"FailedEntryCount": 0, "Entries": [{}]}, {"Entries": [entry]})
        assert EventBridge("changes", events).repairs([repaired()]) == [True]
