"""One trace from the API's function over the stream to the cluster: real handlers, a real port."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app import app
from chalicelib import bootstrap
from chalicelib.settings import load
from chalicelib.store.keys import job_key
from chalicelib.triggers.stream import outbox
from tests.fake_daemon import FakeDaemon
from tests.functional.kubernetes.clusters import EmbeddedCluster, Space
from tests.unit.api.fakes import Api, FakeTokens
from tests.unit.store.benches import bench, new_bench  # noqa: F401 (fixtures)
from tests.unit.store.conftest import client  # noqa: F401 (a fixture)
from tests.unit.store.support import Bench

STREAM = Path(__file__).parents[2] / "events" / "stream.json"
HEADER = "_X_AMZN_TRACE_ID"
CREATING = "1-5759e988-bd862e3fe1be46a994272793", "53995c3f42cd8ad8"
STOPPING = "1-5759e999-000000000000000000000001", "0000000000000001"
DELIVERING = "1-5759e98a-000000000000000000000002", "0000000000000002"


@dataclass
class Yard:
    """The functions of one Trainyard, called one after the other as Lambda calls them."""

    bench: Bench
    api: Api
    daemon: FakeDaemon
    patch: pytest.MonkeyPatch

    def call(self, trace: tuple[str, str] | None, method: str, path: str, body: Any = None) -> Any:
        """What the API answers; the request is of that trace, which is recorded, or of none that is."""
        self._serve(trace)
        reply = self.api.call(method, f"/api/jobs/{path}", body)
        assert reply.status < 300, reply.raw
        return reply.body.get("data")

    def create(self, trace: tuple[str, str] | None, **changes: Any) -> str:
        job = {"jobName": "traced", "image": "python:3.11", "command": ["true"], **changes}
        return str(self.call(trace, "POST", "create", job)["jobId"])

    def deliver(self, job_id: str) -> None:
        """Call the outbox with the record's last image, in an own trace."""
        item = self.bench.item(job_key(job_id))
        assert item is not None
        (record, *_) = json.loads(STREAM.read_text())["Records"]
        record["dynamodb"] |= {"Keys": job_key(job_id), "NewImage": item}
        self._serve(DELIVERING)
        assert outbox({"Records": [record]}, None) == {"batchItemFailures": []}

    def _serve(self, trace: tuple[str, str] | None) -> None:
        root, parent = trace or CREATING
        self.patch.setenv(
            HEADER, f"Root={root};Parent={parent};Sampled={int(trace is not None)};Lineage=1:a:0"
        )


@pytest.fixture
def yard(
    embedded: EmbeddedCluster,
    space: Space,
    bench: Bench,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Yard]:
    pool = {"cluster": "prod", "namespace": space.name, "priority_classes": False}
    settings = {
        "TRAINYARD_CLUSTERS": json.dumps({"prod": {"kubeconfig": embedded.kubeconfig}}),
        "TRAINYARD_POOLS": json.dumps({"default": pool}),
    }
    container: Any = bootstrap.Container(load(settings))
    container.store, container.tokens = bench.store, FakeTokens()
    # Made now, since Chalice's client puts a copy in the place of os.environ while it calls.
    assert container.traces
    daemon = FakeDaemon()
    monkeypatch.setenv("AWS_XRAY_DAEMON_ADDRESS", daemon.address)
    with bootstrap.use(container):
        yield Yard(bench, Api(app), daemon, monkeypatch)
    daemon.close()


def requests(document: Any) -> list[tuple[str, str, int]]:
    """The calls of a cluster: where, what, and the answer's status."""
    return [
        (call["name"], call["http"]["request"]["method"], call["http"]["response"]["status"])
        for call in document["subsegments"]
    ]


def test_what_the_outbox_submits_is_in_the_trace_of_the_request_that_created_it(yard: Yard) -> None:
    job_id = yard.create(CREATING)
    assert yard.daemon.received() == [], "the API's own part is Lambda's to tell"
    yard.deliver(job_id)
    (document,) = yard.daemon.received()
    assert (document["trace_id"], document["parent_id"]) == CREATING
    assert document["name"] == "trainyard-outbox"
    assert document["annotations"]["job_id"] == job_id
    assert document["metadata"]["trainyard"]["outbox_trace"] == DELIVERING[0]
    assert requests(document) == [("Kubernetes prod", "POST", 201)]
    call = document["subsegments"][0]
    assert document["start_time"] <= call["start_time"] <= call["end_time"] <= document["end_time"]


def test_a_stop_is_in_the_trace_of_the_request_that_asked_for_it(yard: Yard) -> None:
    job_id = yard.create(CREATING, command=["sleep", "600"])
    yard.deliver(job_id)
    yard.call(STOPPING, "POST", f"{job_id}/stop")
    yard.deliver(job_id)
    _, stopped = yard.daemon.received()
    assert (stopped["trace_id"], stopped["parent_id"]) == STOPPING
    assert ("Kubernetes prod", "DELETE", 200) in requests(stopped)
    yard.call(None, "DELETE", f"{job_id}")
    yard.deliver(job_id)
    assert yard.daemon.received() == [], "nobody records the deletion"


def test_a_cluster_that_fails_is_the_traces_trouble(yard: Yard, embedded: EmbeddedCluster) -> None:
    fault = {"fault": "error", "code": 422, "count": 1, "method": "POST", "path": "*/jobs*"}
    assert embedded.request("POST", "/control/faults", fault)[0] == 200
    job_id = yard.create(CREATING)
    yard.deliver(job_id)
    (document,) = yard.daemon.received()
    assert document["error"] is True
    (exception,) = document["cause"]["exceptions"]
    assert exception["type"] == "ClusterRejected" and "told to fail" in exception["message"]
    assert yard.call(None, "GET", f"{job_id}")["status"] == "Failed"


def test_a_request_that_is_not_recorded_leaves_nothing_in_record_and_daemon(yard: Yard) -> None:
    job_id = yard.create(None)
    yard.deliver(job_id)
    assert yard.daemon.received() == []
    assert "trace" not in (yard.bench.item(job_key(job_id)) or {})
