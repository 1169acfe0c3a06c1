"""How fast the embedded cluster is: `python -m tests.benchmarks.kubernetes [pods]` prints a table.

1,000 hollow pods are created, run and finished; 10,000 objects are listed in pages of 500; CPU while idle.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from tests.functional.kubernetes.clusters import EmbeddedCluster, Space, wait_for

IDLE_SECONDS = 10.0


def main() -> None:
    pods = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        cluster = EmbeddedCluster(
            Path(folder), "--hollow", "1", "--node-cpu", "100k", "--node-memory", "100Ti"
        )
        cluster.start()
        try:
            measure(cluster, pods)
        finally:
            cluster.end()


def measure(cluster: EmbeddedCluster, pods: int) -> None:
    space = Space(cluster)
    report("idle CPU", f"{idle(cluster):.2f} %")
    began, busy = time.monotonic(), cpu(cluster)
    space.run("many", "true", spec={"completions": pods, "parallelism": pods})
    wait_for(lambda: space.job("many").status.succeeded == pods, 600, "the job")
    report(f"{pods} hollow pods created, run and finished", f"{time.monotonic() - began:.1f} s")
    report("  of which CPU", f"{cpu(cluster) - busy:.1f} s")
    began, seen, pages, token = time.monotonic(), 0, 0, ""
    space.run("more", "true", spec={"parallelism": 10_000 - pods}, pod={"schedulerName": "none"})
    wait_for(lambda: space.job("more").status.active == 10_000 - pods, 600, "more pods")
    report(f"{10_000 - pods} more pods created", f"{time.monotonic() - began:.1f} s")
    began = time.monotonic()
    while pages == 0 or token:
        path = f"/api/v1/namespaces/{space.name}/pods?limit=500&continue={token}"
        _, page = cluster.request("GET", path)
        seen, pages, token = seen + len(page["items"]), pages + 1, page["metadata"].get("continue", "")
    report(f"{seen} pods listed in {pages} pages", f"{time.monotonic() - began:.1f} s")
    report("idle CPU with them", f"{idle(cluster):.2f} %")
    report("memory", f"{memory(cluster) / 1e6:.0f} MB")


def idle(cluster: EmbeddedCluster) -> float:
    """Once it has done what was left to do."""
    spent = -1.0
    while spent < (spent := cpu(cluster)):
        time.sleep(1)
    before = cpu(cluster)
    time.sleep(IDLE_SECONDS)
    return (cpu(cluster) - before) / IDLE_SECONDS * 100


def cpu(cluster: EmbeddedCluster) -> float:
    assert cluster.process is not None
    fields = Path(f"/proc/{cluster.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(cluster: EmbeddedCluster) -> int:
    assert cluster.process is not None
    resident = Path(f"/proc/{cluster.process.pid}/statm").read_text().split()[1]
    return int(resident) * os.sysconf("SC_PAGE_SIZE")


def report(what: str, value: str) -> None:
    print(f"{what:45} {value:>10}", flush=True)


if __name__ == "__main__":
    main()
