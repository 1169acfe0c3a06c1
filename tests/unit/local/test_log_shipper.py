"""The shipper against a CloudWatch in memory that fails where the test says so."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from chalicelib.cluster.api import NotFoundInCluster
from chalicelib.errors import ClusterUnavailable
from infra.local.log_files import Checkpoint, NodeLogs
from infra.local.log_owners import Owners
from infra.local.log_shipper import LAST_WORDS_SECONDS, Shipper
from tests.log_lines import line

JOB = "job-01k0000000000000000000000a"
POD = f"{JOB}-x7k2p"
OURS = {"trainyard.dev/job-id": JOB, "trainyard.dev/instance": "trainyard"}


class Killed(BaseException):
    """The shipper's process ends right here."""


class NotFound(ClientError):  # type: ignore[misc]
    """CloudWatch's own ResourceNotFoundException."""


class AlreadyExists(ClientError):  # type: ignore[misc]
    """CloudWatch's own ResourceAlreadyExistsException."""


def refusal(kind: type[ClientError], code: str = "") -> ClientError:
    return kind({"Error": {"Code": code or kind.__name__}}, "PutLogEvents")


class MemoryCloudWatch:
    """One log group. `before` and `after` a put happen what the test sets."""

    class exceptions:
        ResourceNotFoundException = NotFound
        ResourceAlreadyExistsException = AlreadyExists

    def __init__(self) -> None:
        self.streams: dict[str, list[dict[str, Any]]] = {}
        self.calls: list[list[int]] = []
        self.answer: dict[str, Any] = {}
        self.broken = ""  # the stream that takes nothing
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None

    def create_log_stream(self, logGroupName: str, logStreamName: str) -> None:
        assert logGroupName == "/trainyard/jobs"
        if logStreamName in self.streams:
            raise refusal(AlreadyExists)
        self.streams[logStreamName] = []

    def put_log_events(
        self, logGroupName: str, logStreamName: str, logEvents: list[dict[str, Any]]
    ) -> dict[str, Any]:
        assert logGroupName == "/trainyard/jobs"
        self.before()
        if logStreamName == self.broken:
            raise refusal(ClientError, "ThrottlingException")
        if logStreamName not in self.streams:
            raise refusal(NotFound)
        self.streams[logStreamName] += [json.loads(event["message"]) for event in logEvents]
        self.calls.append([event["timestamp"] for event in logEvents])
        self.after()
        return self.answer

    def texts(self, stream: str = f"{JOB}.{POD}.main") -> list[str]:
        return [event["log"] for event in self.streams.get(stream, [])]


class MemoryPods:
    """The Kubernetes API's part."""

    def __init__(self) -> None:
        self.labels: dict[str, dict[str, str]] = {POD: OURS}
        self.broken: Exception | None = None
        self.asked = 0

    def get(self, path: str) -> dict[str, Any]:
        self.asked += 1
        if self.broken:
            raise self.broken
        namespace, name = path.removeprefix("/api/v1/namespaces/").split("/pods/")
        assert namespace == "ns"
        if name not in self.labels:
            raise NotFoundInCluster(name)
        return {"metadata": {"uid": "11-22", "labels": self.labels[name]}}


class World:
    """A node, a cluster, a CloudWatch, and the shipper between them."""

    def __init__(self, folder: Path) -> None:
        self.root, self._state = folder / "pods", folder / "checkpoint.json"
        self.root.mkdir()
        self.cloudwatch, self.pods = MemoryCloudWatch(), MemoryPods()
        self.now = self.tick = 0.0
        self.restart()

    def restart(self) -> None:
        logs = NodeLogs(self.root, Checkpoint(self._state))
        owners = Owners(lambda: self.pods, "trainyard", self.clock)
        self.shipper = Shipper(logs, owners, self.cloudwatch, "/trainyard/jobs", self.clock)

    def clock(self) -> float:
        self.now += self.tick
        return self.now

    def write(self, *texts: str, pod: str = POD, uid: str = "11-22", **more: str) -> Path:
        path = self.root / f"ns_{pod}_{uid}" / "main" / "0.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            for text in texts:
                file.write(line(datetime.now(UTC), text, **more))
        return path

    def turns(self) -> None:
        while self.shipper.turn():
            pass

    def dies(self) -> None:
        with pytest.raises(Killed):
            self.shipper.turn()
        self.cloudwatch.before = self.cloudwatch.after = lambda: None
        self.restart()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """What the shipper logs. Chalice takes the logger `trainyard` for itself where there is an app."""
    caplog.set_level(logging.INFO, "trainyard.shipper")
    monkeypatch.setattr(logging.getLogger("trainyard.shipper"), "handlers", [caplog.handler])
    return caplog


def failing(error: BaseException) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail


def test_lines_arrive_once_and_in_order(world: World) -> None:
    world.write("a", "b")
    world.turns()
    world.write("c")
    world.turns()
    assert world.cloudwatch.texts() == ["a", "b", "c"]


def test_nothing_new_is_no_call(world: World) -> None:
    world.write("a")
    world.turns()
    calls, asked = len(world.cloudwatch.calls), world.pods.asked
    assert world.shipper.turn() is False
    assert (len(world.cloudwatch.calls), world.pods.asked) == (calls, asked) == (1, 1)


def test_a_line_of_a_megabyte_arrives_whole_in_parts(world: World) -> None:
    text = "0123456789abcdef" * 65536
    for start in range(0, len(text), 16384):
        world.write(text[start : start + 16384], logtag="P")
    world.write("")
    world.turns()
    assert "".join(world.cloudwatch.texts()) == text
    assert {event["logtag"] for event in world.cloudwatch.streams[f"{JOB}.{POD}.main"][:-1]} == {"P"}
    assert len(world.cloudwatch.calls) == 2


def test_a_death_right_before_the_put_loses_nothing(world: World) -> None:
    world.write("a")
    world.turns()
    world.write("b")
    world.cloudwatch.before = failing(Killed())
    world.dies()
    world.turns()
    assert world.cloudwatch.texts() == ["a", "b"]


def test_a_death_right_after_the_put_repeats_what_it_put_and_no_more(world: World) -> None:
    world.write("a")
    world.turns()
    world.write("b")
    world.cloudwatch.after = failing(Killed())
    world.dies()
    world.write("c")
    world.turns()
    assert world.cloudwatch.texts() == ["a", "b", "b", "c"]
    events = world.cloudwatch.streams[f"{JOB}.{POD}.main"]
    assert events[1] == events[2]


@pytest.mark.parametrize(
    "error",
    [
        refusal(ClientError, "ThrottlingException"),
        refusal(ClientError, "ServiceUnavailableException"),
        ConnectTimeoutError(endpoint_url="http://127.0.0.1"),
        refusal(NotFound),
    ],
    ids=["throttled", "unavailable", "out of reach", "no such group"],
)
def test_what_cannot_be_put_is_tried_again_later_and_in_order(world: World, error: Exception) -> None:
    world.write("a")
    world.turns()
    world.cloudwatch.before = failing(error)
    world.write("b")
    world.turns()
    world.cloudwatch.before = lambda: None
    world.write("c")
    world.turns()
    assert world.cloudwatch.texts() == ["a"]  # its time has not come
    world.now += 0.6
    world.turns()
    assert world.cloudwatch.texts() == ["a", "b", "c"]


def test_the_waits_of_an_outage_grow_to_half_a_minute_and_no_further(world: World) -> None:
    tries: list[float] = []

    def fail() -> None:
        tries.append(world.now)
        raise refusal(ClientError)

    world.cloudwatch.before = fail
    world.write("a")
    while world.now < 300:
        world.shipper.turn()
        world.now += 0.5
    waits = [after - before for before, after in itertools.pairwise(tries)]
    assert waits[:7] == [0.5, 1, 2, 4, 8, 16, 30]
    assert set(waits[7:]) == {30}


def test_a_stream_in_trouble_holds_up_no_other(world: World) -> None:
    world.pods.labels["other"] = OURS
    world.write("a")
    world.write("b", pod="other")
    world.cloudwatch.broken = f"{JOB}.other.main"
    world.turns()
    world.write("c")
    world.turns()
    assert world.cloudwatch.texts() == ["a", "c"]
    assert world.cloudwatch.texts(f"{JOB}.other.main") == []
    world.cloudwatch.broken, world.now = "", 1
    world.turns()
    assert world.cloudwatch.texts(f"{JOB}.other.main") == ["b"]


def test_a_stream_that_another_life_created_is_used(world: World) -> None:
    world.cloudwatch.before = lambda: world.cloudwatch.streams.setdefault(f"{JOB}.{POD}.main", [])
    world.write("a")
    world.turns()
    assert world.cloudwatch.texts() == ["a"]


def test_events_that_cloudwatch_leaves_out_are_told_and_not_sent_again(
    world: World, told: pytest.LogCaptureFixture
) -> None:
    world.cloudwatch.answer = {"rejectedLogEventsInfo": {"tooOldLogEventEndIndex": 1}}
    world.write("a")
    world.turns()
    assert "tooOldLogEventEndIndex" in told.text
    assert len(world.cloudwatch.calls) == 1


@pytest.mark.parametrize(
    "labels",
    [{}, {"trainyard.dev/job-id": JOB}, OURS | {"trainyard.dev/instance": "another"}],
    ids=["no labels", "no instance", "another instance"],
)
def test_pods_of_others_are_left_alone_and_asked_about_once(world: World, labels: dict[str, str]) -> None:
    world.pods.labels[POD] = labels
    world.write("a")
    world.turns()
    world.write("b")
    world.turns()
    assert (world.cloudwatch.streams, world.pods.asked) == ({}, 1)


def test_the_job_is_the_labels_whatever_the_pods_name(world: World) -> None:
    world.pods.labels["any-name"] = OURS
    world.write("a", pod="any-name")
    world.turns()
    assert world.cloudwatch.texts(f"{JOB}.any-name.main") == ["a"]


@pytest.mark.parametrize("uid", ["11-22", "another"], ids=["deleted", "another pod of its name"])
def test_a_pod_that_is_not_there_any_more_is_known_by_its_name(world: World, uid: str) -> None:
    if uid == "11-22":
        del world.pods.labels[POD]
    world.write("a", uid=uid)
    world.write("b", pod="coredns-x7k2p", uid="33")
    world.turns()
    assert list(world.cloudwatch.streams) == [f"{JOB}.{POD}.main"]


def test_a_pod_is_shipped_from_its_beginning_once_the_cluster_answers(world: World) -> None:
    world.pods.broken = ClusterUnavailable("down")
    path = world.write("a")
    world.turns()
    path.unlink()
    assert world.cloudwatch.streams == {}
    world.turns()
    assert world.pods.asked == 1  # it rests
    world.pods.broken, world.now = None, 3
    world.turns()
    assert world.cloudwatch.texts() == ["a"]


def test_at_the_end_everything_is_shipped_even_without_a_cluster(world: World) -> None:
    world.pods.broken = ClusterUnavailable("down")
    world.write(*map(str, range(20_000)))
    stopping = threading.Event()
    stopping.set()
    world.shipper.run(stopping)
    assert world.cloudwatch.texts() == [str(number) for number in range(20_000)]


def test_the_end_waits_for_cloudwatch_but_not_for_ever(world: World) -> None:
    world.tick = LAST_WORDS_SECONDS / 5
    world.cloudwatch.before = failing(refusal(ClientError))
    world.write("a")
    stopping = threading.Event()
    stopping.set()
    world.shipper.run(stopping)
    world.cloudwatch.before = lambda: None
    world.restart()
    world.turns()
    assert world.cloudwatch.texts() == ["a"]
