"""Every change of state is published, at least once and in order per job, whoever dies and whenever."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import ANY, Stubber
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from chalicelib.aws import DETAIL_TYPE, SOURCE, EventBridge, client
from chalicelib.aws_session import AwsSession
from chalicelib.domain.state_change import StateChange
from chalicelib.domain.states import Status
from chalicelib.errors import BusUnavailable
from chalicelib.services.state_changes import StateChanges
from chalicelib.store.items import to_item, to_state_change
from tests.builders import job, later

SCHEMA = Path(__file__).parents[3] / "docs/events/training-job-state-change.schema.json"
VALIDATOR = Draft202012Validator(
    json.loads(SCHEMA.read_text()), format_checker=Draft202012Validator.FORMAT_CHECKER
)


class Told:
    """A bus that keeps what it takes. `refused` are the numbers of the entries that it does not, counted
    over all calls; `down` those of the calls that fail, `unheard` those that succeed without an answer."""

    def __init__(
        self, refused: Sequence[int] = (), down: Sequence[int] = (), unheard: Sequence[int] = ()
    ) -> None:
        self.calls: list[list[str]] = []
        self.kept: list[str] = []
        self._refused, self._down, self._unheard = set(refused), set(down), set(unheard)
        self._entries = 0

    def __call__(self, changes: Sequence[StateChange]) -> Sequence[bool]:
        number = len(self.calls)
        self.calls.append([named(change) for change in changes])
        if number in self._down:
            raise BusUnavailable("throttled")
        taken = []
        for change in changes:
            taken.append(self._entries not in self._refused)
            self.kept += [named(change)] * taken[-1]
            self._entries += 1
        if number in self._unheard:
            raise BusUnavailable("the answer is lost")
        return taken


def uncounted(change: StateChange) -> None:
    """A meter for who does not look at it."""


def change(name: str = "a", version: int = 1, was: Status | None = None) -> StateChange:
    return StateChange(job=job(id=f"job-{name:x>26}", version=version), was=was)


def named(change: StateChange) -> str:
    return f"{change.job.id[-1]}{change.job.version}"


def changes(*names: str) -> list[StateChange]:
    return [change(name[0], int(name[1:])) for name in names]


def test_changes_are_published_in_order_ten_at_a_time() -> None:
    told = Told()
    twelve = changes(*[f"{letter}1" for letter in "abcdefghijkl"])
    assert StateChanges(told, uncounted).publish(twelve) == 12
    assert [len(call) for call in told.calls] == [10, 2]
    assert told.kept == [named(one) for one in twelve]


def test_two_changes_of_one_job_never_share_a_call() -> None:
    told = Told()
    StateChanges(told, uncounted).publish(changes("a1", "b1", "a2", "a3", "b2"))
    assert told.calls == [["a1", "b1"], ["a2"], ["a3", "b2"]]


def test_a_change_that_the_bus_did_not_take_holds_back_all_that_come_after_it() -> None:
    told = Told(refused=[1])
    assert StateChanges(told, uncounted).publish(changes("a1", "b1", "c1", "b2")) == 1
    assert told.kept == ["a1", "c1"], "the next call was not made"


def test_a_bus_that_does_not_answer_leaves_the_rest_to_the_next_delivery() -> None:
    told = Told(down=[1])
    assert StateChanges(told, uncounted).publish(changes("a1", "a2", "a3")) == 1
    assert told.kept == ["a1"]


def test_what_the_bus_took_is_counted_and_what_it_did_not_is_counted_when_it_does() -> None:
    told, counted = Told(refused=[1]), list[StateChange]()
    service, every = StateChanges(told, counted.append), changes("a1", "b1", "c1")
    done = service.publish(every)
    assert counted == every[:1]
    service.publish(every[done:])
    assert counted == every


def test_an_answer_that_is_lost_repeats_the_change_and_loses_none() -> None:
    told = Told(unheard=[0])
    both = changes("a1", "a2")
    assert StateChanges(told, uncounted).publish(both) == 0
    assert StateChanges(told, uncounted).publish(both) == 2
    assert told.kept == ["a1", "a1", "a2"]


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=25),
    st.sets(st.integers(0, 40)),
    st.sets(st.integers(0, 9)),
    st.sets(st.integers(0, 9)),
)
def test_whatever_fails_each_job_is_told_of_in_order_and_nothing_is_missing(
    names: list[str], refused: set[int], down: set[int], unheard: set[int]
) -> None:
    every = [change(name, names[: n + 1].count(name)) for n, name in enumerate(names)]
    told = Told(sorted(refused), sorted(down), sorted(unheard))
    left = every
    for _ in range(100):
        left = left[StateChanges(told, uncounted).publish(left) :]
        if not left:
            break
    assert not left
    for name in set(names):
        news = list(dict.fromkeys(one for one in told.kept if one[0] == name))
        assert news == [f"{name}{version}" for version in range(1, names.count(name) + 1)]


# ---- what an event says


def event(told: StateChange) -> dict[str, Any]:
    """As a rule's target gets it."""
    time = told.job.updated_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    detail = json.loads(json.dumps(told.detail))
    return {"source": SOURCE, "detail-type": DETAIL_TYPE, "time": time, "detail": detail}


@pytest.mark.parametrize(
    ("was", "to"),
    [
        (None, Status.PENDING),
        (Status.PENDING, Status.RUNNING),
        (Status.RUNNING, Status.FAILED),
        (Status.STOPPING, Status.STOPPED),
    ],
)
def test_an_event_is_as_its_schema_says(was: Status | None, to: Status) -> None:
    then = job(was or to)
    now = then.changed(later(5), status=to, exit_code=137, finished_at=later(4)) if was else then
    told = to_state_change(to_item(now, then if was else None))
    VALIDATOR.validate(event(told))
    assert (told.detail["from"], told.detail["to"]) == (was, to)
    assert told.detail["changed_at"] == now.updated_at.isoformat(timespec="microseconds")


def test_the_schema_refuses_what_is_not_an_event_of_ours() -> None:
    right = event(change())
    assert VALIDATOR.is_valid(right)
    for field in right["detail"]:
        without = {key: value for key, value in right["detail"].items() if key != field}
        assert not VALIDATOR.is_valid({**right, "detail": without}), field
    for field, wrong in {
        "to": "lost",
        "from": "failed",
        "version": 0,
        "id": "1",
        "created_at": "now",
    }.items():
        assert not VALIDATOR.is_valid({**right, "detail": {**right["detail"], field: wrong}}), field


# ---- the bus


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> tuple[EventBridge, Stubber]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    events = client(AwsSession(), "events")
    return EventBridge("changes", events), Stubber(events)


def test_the_bus_gets_each_change_with_its_time_and_says_which_it_took(
    bus: tuple[EventBridge, Stubber],
) -> None:
    publish, stub = bus
    both = changes("a1", "b1")
    entries = [
        {
            "EventBusName": "changes",
            "Source": "trainyard",
            "DetailType": "Training Job State Change",
            "Time": one.job.updated_at,
            "Detail": json.dumps(one.detail),
        }
        for one in both
    ]
    answer = {"FailedEntryCount": 1, "Entries": [{"EventId": "1"}, {"ErrorCode": "ThrottlingException"}]}
    with stub:
        stub.add_response("put_events", answer, {"Entries": entries})
        assert publish(both) == [True, False]


def test_a_bus_that_refuses_the_call_is_unavailable(bus: tuple[EventBridge, Stubber]) -> None:
    publish, stub = bus
    with stub, pytest.raises(BusUnavailable, match="changes"):
        stub.add_client_error("put_events", "AccessDeniedException", expected_params={"Entries": ANY})
        publish(changes("a1"))
