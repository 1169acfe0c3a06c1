"""Times create, detail and list through the API beside the same work as raw calls to the same DynamoDB.

    make up && python -m tests.benchmarks.api [--requests 300]

One client on one kept-alive connection, the two sides in turns, so that a noisy moment hits both. The raw
side sends what the store sends: the same transaction, the same GetItem, the same BatchGetItem and Query.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Any

import boto3
import requests

from chalicelib.bootstrap import new_job_id, utc_now
from chalicelib.services.caller import Caller, Role
from chalicelib.services.ports import ListQuery
from chalicelib.services.submission import JobRequest, Stamps, Submission
from chalicelib.settings import load
from chalicelib.store.dynamo import DynamoStore, StoreOptions
from infra.local import config
from infra.local.ministack import deployed

Requests = Sequence[tuple[str, Mapping[str, Any]]]
BODY = {  # more GPUs than there are: nothing runs beside the measurement
    "jobName": "bench",
    "image": "python",
    "command": ["python", "-c", "pass"],
    "resources": {"gpu": 64},
}


@dataclass
class Recorder:
    """Stands in for the DynamoDB client: keeps what it was asked, and asks the real one if it has one."""

    client: Any = None
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**request: Any) -> Any:
            self.asked.append((operation, request))
            return getattr(self.client, operation)(**request) if self.client else {}

        return call


@dataclass
class Side:
    """One side's times, in seconds."""

    times: list[float] = field(default_factory=list)

    def time(self, work: Callable[[], Any]) -> None:
        begin = time.perf_counter()
        work()
        self.times.append(time.perf_counter() - begin)

    def percentile(self, share: int) -> float:
        return statistics.quantiles(self.times, n=100)[share - 1]


class Bench:
    """The API's client and the raw one, on the same table."""

    def __init__(self) -> None:
        local = config.load()
        self._url = os.environ["TRAINYARD_URL"]
        self._http = requests.Session()
        self._http.headers["Authorization"] = f"Bearer {os.environ['TRAINYARD_TOKEN']}"
        self._raw: Any = boto3.client("dynamodb")
        self._table = deployed(local).jobs_table
        self._ids: list[str] = []

    def create(self) -> None:
        answer = self._http.post(
            f"{self._url}/api/jobs/create", json=BODY | {"clientToken": f"{time.time_ns()}"}
        )
        answer.raise_for_status()
        self._ids.append(answer.json()["data"]["jobId"])

    def detail(self) -> None:
        self._http.get(f"{self._url}/api/jobs/{self._ids[-1]}").raise_for_status()

    def list(self) -> None:
        self._http.post(f"{self._url}/api/jobs", json={}).raise_for_status()

    def raw(self, asked: Requests) -> None:
        for operation, request in asked:
            getattr(self._raw, operation)(**request)

    def clean_up(self) -> None:
        for job_id in self._ids:
            self._http.delete(f"{self._url}/api/jobs/{job_id}").raise_for_status()

    def what_create_asks(self) -> Requests:
        recorder = Recorder()
        settings = load({})
        submission = Submission(
            self._store(recorder),
            settings.pools,
            settings.images,
            _manifest(),
            Stamps(utc_now, new_job_id),
        )
        request = JobRequest(name="bench", image="python", command=["python", "-c", "pass"], gpu=64)
        caller = Caller(config.DEFAULT_TENANT, "bench", frozenset({Role.MEMBER}))
        self._ids.append(submission.submit(caller, request, f"{time.time_ns()}").id)
        return recorder.asked

    def what_detail_asks(self) -> Requests:
        recorder = Recorder(self._raw)
        self._store(recorder).get(self._ids[-1])
        return recorder.asked

    def what_list_asks(self) -> Requests:
        recorder = Recorder(self._raw)
        self._store(recorder).list(ListQuery(tenant=config.DEFAULT_TENANT))
        return recorder.asked

    def _store(self, client: Any) -> DynamoStore:
        options = StoreOptions(table=self._table)
        return DynamoStore(client, options, clock=utc_now, sleep=time.sleep, random=SystemRandom())


def _manifest() -> Any:
    from chalicelib.domain.manifest import ManifestSettings  # noqa: PLC0415

    return ManifestSettings(instance="bench", finished_job_ttl_seconds=60, stop_grace_seconds=1)


def main() -> None:
    parser = argparse.ArgumentParser(description="the API beside raw calls to the same DynamoDB")
    parser.add_argument("--requests", type=int, default=300, help="how many of each (default 300)")
    number = parser.parse_args().requests
    bench = Bench()
    work = {
        "create": (bench.create, bench.what_create_asks),
        "detail": (bench.detail, bench.what_detail_asks),
        "list 20": (bench.list, bench.what_list_asks),
    }
    print(
        f"{'':10}{'API p50':>10}{'p99':>9}{'per s':>8}{'raw p50':>11}{'p99':>9}{'per s':>8}{'ratio p50':>12}"
    )
    for name, (through_api, asks) in work.items():
        api, raw = Side(), Side()
        for turn in range(number + 10):
            asked = asks()
            api.time(through_api)
            raw.time(lambda asked=asked: bench.raw(asked))  # type: ignore[misc]
            if turn == 9:  # the first ones warm caches and connections up
                api, raw = Side(), Side()
        row = [f"{name:10}"]
        for side, width in ((api, 10), (raw, 11)):
            row.append(
                f"{side.percentile(50) * 1000:>{width - 3}.1f} ms{side.percentile(99) * 1000:>6.1f} ms"
            )
            row.append(f"{len(side.times) / sum(side.times):>8.0f}")
        print("".join(row) + f"{api.percentile(50) / raw.percentile(50):>12.2f}")
    bench.clean_up()


if __name__ == "__main__":
    main()
