"""One pass of the sync over all records and the whole cluster, in a process of its own: its time and memory.

    python -m tests.benchmarks.repair_pass [--raw]

Prints JSON. With `--raw` it makes the requests that a pass makes, and does nothing with the answers.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from chalicelib.aws_session import AwsSession
from chalicelib.bootstrap import Container
from chalicelib.cluster.api import KubernetesApi
from chalicelib.domain import labels
from chalicelib.services.sync import LEASE
from chalicelib.settings import load
from chalicelib.store.connect import dynamo_client
from infra.local import config
from tests.benchmarks.recorder import Recorder, recorded_store


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--raw", action="store_true")
    raw = parser.parse_args().raw
    container = Container(load(os.environ))
    while not container.store.lease_is_free(LEASE, container.clock()):  # the pass before has not given it up
        time.sleep(0.2)
    work = _requests(container) if raw else container.sync.look
    cpu, began = time.process_time(), time.monotonic()
    if work() is False:
        raise RuntimeError("the pass lost its lease, or found nothing")
    told = {"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu}
    print(json.dumps(told | {"peak_mb": _peak()}))


def _peak() -> float:
    """The most memory that was resident, in MB. getrusage would tell of the process that started this one."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(kilobytes) * 1024 / 1e6


def _requests(container: Container) -> Callable[[], object]:
    recorder = Recorder(dynamo_client(AwsSession()))
    for _ in recorded_store(recorder, container.settings.jobs_table).unsettled():
        pass
    cluster = KubernetesApi.from_kubeconfig(config.load().service_kubeconfig, None, 30)
    query = {"labelSelector": f"{labels.INSTANCE}={container.settings.instance}"}

    def send() -> None:
        for operation, request in recorder.asked:
            getattr(recorder.client, operation)(**request)
        for path in ("/apis/batch/v1/jobs", "/api/v1/pods"):
            for _ in cluster.pages(path, query):
                pass

    return send


if __name__ == "__main__":
    main()
