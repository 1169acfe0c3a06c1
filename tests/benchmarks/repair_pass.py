"""One pass of the sync over all records and the whole cluster, in a process of its own: its time and memory.

    python -m tests.benchmarks.repair_pass [--raw]

Prints JSON. With `--raw` it makes the requests that a pass makes, and does nothing with the answers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable

import boto3

from chalicelib.bootstrap import Container
from chalicelib.cluster.api import KubernetesApi
from chalicelib.domain import labels
from chalicelib.settings import load
from chalicelib.store.connect import dynamo_client
from infra.local import config
from tests.benchmarks.create import Recorder, recorded_store


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--raw", action="store_true")
    raw = parser.parse_args().raw
    container = Container(load(os.environ))
    work = _requests(container) if raw else container.sync.look
    cpu, began = time.process_time(), time.monotonic()
    work()
    told = {"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps(told | {"peak_mb": peak}))
    if not raw:
        container.sync.run(lambda: 0.0)  # gives the lease up


def _requests(container: Container) -> Callable[[], object]:
    recorder = Recorder(dynamo_client())
    for _ in recorded_store(recorder, container.settings.jobs_table).unsettled():
        pass
    dynamodb = boto3.client("dynamodb")
    cluster = KubernetesApi.from_kubeconfig(config.load().service_kubeconfig, None, 30)
    query = {"labelSelector": f"{labels.INSTANCE}={container.settings.instance}"}

    def send() -> None:
        for operation, request in recorder.asked:
            getattr(dynamodb, operation)(**request)
        for path in ("/apis/batch/v1/jobs", "/api/v1/pods"):
            for _ in cluster.pages(path, query):
                pass

    return send


if __name__ == "__main__":
    main()
