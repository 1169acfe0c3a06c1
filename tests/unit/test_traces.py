"""What X-Ray is told of: documents as its guide has them, to a daemon that may not be there."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from chalicelib.cluster.api import AlreadyExists
from chalicelib.domain.job import Job
from chalicelib.errors import ClusterForbids, ClusterRejected, ClusterUnavailable, StoreUnavailable
from chalicelib.services.side_by_side import SideBySide
from chalicelib.traces import MAX_BYTES, Traces
from tests.builders import JOB_ID, NOW, job
from tests.fake_daemon import FakeDaemon

ROOT, PARENT = "1-5759e988-bd862e3fe1be46a994272793", "53995c3f42cd8ad8"
HEADER = f"Root={ROOT};Parent={PARENT};Sampled=1"
TRACED = job(trace=f"{ROOT}:{PARENT}")
START = NOW.timestamp()

# https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html
_ID = {"type": "string", "pattern": "^[0-9a-f]{16}$"}
_NAME = {"type": "string", "pattern": r"^[\w\s_.:/%&#=+\\\-@]{1,200}$"}
_CAUSE = {
    "type": "object",
    "required": ["exceptions"],
    "additionalProperties": False,
    "properties": {
        "exceptions": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id"],
                "additionalProperties": False,
                "properties": {"id": _ID, "type": {"type": "string"}, "message": {"type": "string"}},
            },
        }
    },
}
_HTTP = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "request": {"properties": {"method": {"type": "string"}, "url": {"type": "string"}}},
        "response": {"properties": {"status": {"type": "integer"}}},
    },
}
_COMMON: dict[str, Any] = {
    "name": _NAME,
    "id": _ID,
    "start_time": {"type": "number"},
    "end_time": {"type": "number"},
    "error": {"type": "boolean"},
    "fault": {"type": "boolean"},
    "cause": _CAUSE,
    "http": _HTTP,
}
SPECIFICATION: dict[str, Any] = {
    "type": "object",
    "required": ["name", "id", "trace_id", "start_time", "end_time"],
    "additionalProperties": False,
    "properties": {
        **_COMMON,
        "trace_id": {"type": "string", "pattern": "^1-[0-9a-f]{8}-[0-9a-f]{24}$"},
        "parent_id": _ID,
        "annotations": {
            "propertyNames": {"pattern": "^[A-Za-z0-9_]{1,500}$"},
            "additionalProperties": {"type": ["string", "number", "boolean"], "maxLength": 1000},
        },
        "metadata": {"type": "object"},
        "subsegments": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "id", "start_time", "end_time"],
                "additionalProperties": False,
                "properties": {**_COMMON, "namespace": {"enum": ["aws", "remote"]}},
            },
        },
    },
}


class Recorder:
    """Traces over a clock in the test's hands and a daemon that listens."""

    def __init__(self, **environ: str) -> None:
        self.daemon = FakeDaemon()
        self.environ = {"AWS_XRAY_DAEMON_ADDRESS": self.daemon.address, **environ}
        self.now = NOW
        numbers = itertools.count(1)
        self.traces = Traces("yard-outbox", self.environ, self._time, lambda: f"{next(numbers):016x}")

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def told(self) -> list[Any]:
        documents = self.daemon.received()
        for document in documents:
            Draft202012Validator(SPECIFICATION).validate(document)
        return documents

    def _time(self) -> datetime:
        return self.now


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.daemon.close()


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        pytest.param(HEADER, f"{ROOT}:{PARENT}", id="sampled"),
        pytest.param(f"{HEADER};Lineage=1:a87bd80c:0", f"{ROOT}:{PARENT}", id="with a lineage"),
        pytest.param(f"Sampled=1; Parent={PARENT}; Root={ROOT}", f"{ROOT}:{PARENT}", id="in another order"),
        pytest.param(f"Root={ROOT};Parent={PARENT};Sampled=0", None, id="not sampled"),
        pytest.param(f"Root={ROOT};Parent={PARENT}", None, id="not decided"),
        pytest.param(f"Root={ROOT};Sampled=1", None, id="without a parent"),
        pytest.param(f"Root={ROOT.upper()};Parent={PARENT};Sampled=1", None, id="capitals"),
        pytest.param(f"Root={ROOT}0;Parent={PARENT};Sampled=1", None, id="too long a root"),
        pytest.param(f"Root={ROOT};Parent={PARENT}\n;Sampled=1", f"{ROOT}:{PARENT}", id="a line break"),
        pytest.param("Root=;;=;Sampled=1", None, id="rubbish"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="none"),
    ],
)
def test_a_requests_trace_is_known_where_lambda_records_it(header: str | None, trace: str | None) -> None:
    recorder = Recorder(**({} if header is None else {"_X_AMZN_TRACE_ID": header}))
    assert recorder.traces.here() == trace


def test_the_variable_is_read_anew_with_each_request(recorder: Recorder) -> None:
    assert recorder.traces.here() is None
    recorder.environ["_X_AMZN_TRACE_ID"] = HEADER
    assert recorder.traces.here() == TRACED.trace


def test_what_is_done_for_a_job_is_a_segment_of_its_requests_trace(recorder: Recorder) -> None:
    own = "1-5759e990-000000000000000000000001"
    recorder.environ["_X_AMZN_TRACE_ID"] = HEADER.replace(ROOT, own)
    with recorder.traces.follow(TRACED):
        recorder.wait(1)
        with recorder.traces.call("Kubernetes prod", "POST", "/apis/batch/v1/namespaces/a/jobs") as answered:
            recorder.wait(2)
            answered(201)
        recorder.wait(4)
    (document,) = recorder.told()
    assert document == {
        "name": "yard-outbox",
        "id": f"{1:016x}",
        "trace_id": ROOT,
        "parent_id": PARENT,
        "start_time": START,
        "end_time": START + 7,
        "annotations": {"job_id": JOB_ID, "tenant": "acme", "pool": "default", "status": "pending"},
        "metadata": {"trainyard": {"outbox_trace": own}},
        "subsegments": [
            {
                "name": "Kubernetes prod",
                "id": f"{2:016x}",
                "start_time": START + 1,
                "end_time": START + 3,
                "namespace": "remote",
                "http": {
                    "request": {"method": "POST", "url": "/apis/batch/v1/namespaces/a/jobs"},
                    "response": {"status": 201},
                },
            }
        ],
    }


REFUSED = ClusterRejected("spec.template: Invalid value")


@pytest.mark.parametrize(
    ("error", "status", "kind", "said"),
    [
        (REFUSED, 422, "error", ("ClusterRejected", "spec.template: Invalid value")),
        (ClusterForbids("exceeded quota"), 403, "error", ("ClusterForbids", "exceeded quota")),
        (ClusterUnavailable("500 busy"), 500, "fault", ("ClusterUnavailable", "500 busy")),
        (ClusterUnavailable("no answer"), None, "fault", ("ClusterUnavailable", "no answer")),
    ],
    ids=["refused", "forbidden", "broken", "silent"],
)
@pytest.mark.parametrize("survived", [True, False], ids=["the job's end is written", "left to the pass"])
def test_what_the_cluster_refuses_is_the_calls_and_the_segments_trouble(
    recorder: Recorder, error: Exception, status: int | None, kind: str, said: tuple[str, str], survived: bool
) -> None:
    def ask() -> None:
        with recorder.traces.call("Kubernetes prod", "POST", "/jobs") as answered:
            if status is not None:
                answered(status)
            raise error

    def work() -> None:
        with recorder.traces.follow(TRACED):
            try:
                ask()
            except type(error):
                if not survived:
                    raise

    if survived:
        work()
    else:
        with pytest.raises(type(error)) as raised:
            work()
        assert raised.value is error
    (document,) = recorder.told()
    for one in (document, *document["subsegments"]):
        (exception,) = one["cause"]["exceptions"]
        assert (exception["type"], exception["message"]) == said
        assert [name for name in ("error", "fault") if name in one] == [kind]


def test_a_job_that_is_there_already_is_no_trouble(recorder: Recorder) -> None:
    with recorder.traces.follow(TRACED), pytest.raises(AlreadyExists):  # noqa: SIM117
        with recorder.traces.call("Kubernetes prod", "POST", "/jobs") as answered:
            answered(409)
            raise AlreadyExists("mine")
    (document,) = recorder.told()
    assert document["subsegments"][0]["http"]["response"] == {"status": 409}
    assert not {"error", "fault", "cause"} & {*document, *document["subsegments"][0]}


def test_trouble_that_is_not_the_clusters_is_told_too(recorder: Recorder) -> None:
    with pytest.raises(StoreUnavailable), recorder.traces.follow(TRACED):
        raise StoreUnavailable("throttled \ud800")
    (document,) = recorder.told()
    assert document["fault"] is True
    assert document["cause"]["exceptions"][0]["message"] == "throttled \ud800"


@pytest.mark.parametrize(
    "untraced",
    [job(), job(trace=""), job(trace=ROOT), job(trace=f"{ROOT}:{PARENT}:1"), job(trace="a\nb")],
    ids=["none", "empty", "no parent", "of another release", "rubbish"],
)
def test_nothing_is_told_of_a_job_without_a_trace(recorder: Recorder, untraced: Job) -> None:
    with recorder.traces.follow(untraced), recorder.traces.call("k", "GET", "/") as answered:
        answered(200)
    assert recorder.told() == []


def test_calls_outside_of_a_job_and_of_other_threads_are_not_told(recorder: Recorder) -> None:
    def call() -> None:
        with recorder.traces.call("k", "GET", "/") as answered:
            answered(200)

    call()
    with recorder.traces.follow(TRACED):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    call()
    (document,) = recorder.told()
    assert document["subsegments"] == []


def test_jobs_that_are_worked_off_side_by_side_have_their_own_calls(recorder: Recorder) -> None:
    ids = [f"job-{number}" for number in range(3)]
    all_are_in = threading.Barrier(len(ids), timeout=30)

    def submit(job_id: str) -> None:
        with recorder.traces.follow(job(id=job_id, trace=f"{ROOT}:{PARENT}")):
            all_are_in.wait()
            with recorder.traces.call("Kubernetes a", "POST", job_id) as answered:
                answered(201)
            all_are_in.wait()

    list(SideBySide(len(ids))(submit, ids))
    told = recorder.told()
    assert sorted(segment["annotations"]["job_id"] for segment in told) == ids
    for segment in told:
        (call,) = segment["subsegments"]
        assert call["http"]["request"]["url"] == segment["annotations"]["job_id"]


def test_a_document_that_is_too_long_is_told_without_its_calls(recorder: Recorder) -> None:
    with recorder.traces.follow(TRACED):
        for _ in range(MAX_BYTES // 100):
            with recorder.traces.call("k", "GET", "/") as answered:
                answered(200)
    (document,) = recorder.told()
    assert "subsegments" not in document and document["trace_id"] == ROOT


def test_a_cluster_of_any_name_and_an_error_of_any_length_have_room(recorder: Recorder) -> None:
    with pytest.raises(ClusterUnavailable), recorder.traces.follow(TRACED):  # noqa: SIM117
        with recorder.traces.call("Kubernetes " + "ü(!)" * 99, "GET", "/"):
            raise ClusterUnavailable("no" * MAX_BYTES)
    (document,) = recorder.told()
    assert document["subsegments"][0]["name"].startswith("Kubernetes ü___ü")


@pytest.mark.parametrize(
    "address",
    ["", "nowhere", "127.0.0.1:", "127.0.0.1:two", "127.0.0.1:99999", "127.0.0.1:-1", "256.0.0.1:2000", ":"],
)
def test_no_daemon_is_nobodys_trouble(recorder: Recorder, address: str) -> None:
    recorder.environ["AWS_XRAY_DAEMON_ADDRESS"] = address
    done = []
    with recorder.traces.follow(TRACED):
        done.append(1)
    assert done == [1]


def test_a_daemon_that_went_away_is_nobodys_trouble(recorder: Recorder) -> None:
    with recorder.traces.follow(TRACED):
        pass
    recorder.daemon.close()
    for _ in range(3):  # the first is answered by ICMP, which the next ones hear of
        with recorder.traces.follow(TRACED):
            pass


def test_a_variable_that_goes_away_meanwhile_is_nobodys_trouble(recorder: Recorder) -> None:
    with recorder.traces.follow(TRACED):
        recorder.environ.clear()
    assert recorder.told() == []


def test_without_lambdas_variables_nothing_is_recorded(recorder: Recorder) -> None:
    recorder.environ.clear()
    assert recorder.traces.here() is None
    with recorder.traces.follow(TRACED), recorder.traces.call("k", "GET", "/") as answered:
        answered(200)
    assert recorder.told() == []
