"""The node's log files, which a log shipper reads as it reads a real kubelet's."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable
from pathlib import Path

from tests.functional.kubernetes.clusters import EmbeddedCluster, Space, wait_for


def logs_of(cluster: EmbeddedCluster, space: Space, job: str) -> Path:
    """The folder of the one pod of `job`, in the kubelet's layout."""
    (folder,) = (cluster.state / "log" / "pods").glob(f"{space.name}_{job}-*")
    return folder


def test_every_record_has_a_time_of_its_own_later_than_the_one_before(
    embedded: EmbeddedCluster, space: Space
) -> None:
    script = "import os\nos.write(1, b'x\\n' * 5000 + b'y' * 100_000)\nos.write(2, b'z\\n' * 500)"
    space.run("chatty", "python", "-c", script)
    assert space.ended("chatty").type == "Complete"
    records = (logs_of(embedded, space, "chatty") / "main" / "0.log").read_bytes().splitlines()
    times = [record.split(b" ", 1)[0] for record in records]
    assert len(records) == 5000 + 7 + 500
    assert {len(time) for time in times} == {len("2026-01-01T00:00:00.000000001Z")}
    assert all(before < after for before, after in itertools.pairwise(times))


def test_each_attempt_has_a_file_of_its_own(embedded: EmbeddedCluster, space: Space) -> None:
    space.run_twice("again")
    space.running("again")
    wait_for(lambda: (logs_of(embedded, space, "again") / "main" / "1.log").exists())
    assert (logs_of(embedded, space, "again") / "main" / "0.log").read_text().endswith(" stdout F run\n")


def test_a_deleted_pods_logs_stay_a_while_and_then_go(fresh: Callable[..., EmbeddedCluster]) -> None:
    cluster = fresh("--log-keep", "1")
    space = Space(cluster)
    space.run("gone", "echo", "last words")
    space.ended("gone")
    folder, uid = logs_of(cluster, space, "gone"), space.pod("gone").metadata.uid
    space.batch.delete_namespaced_job("gone", space.name, propagation_policy="Background")
    wait_for(lambda: not (cluster.state / "pods" / uid).exists(), what="the pod's own folder to go")
    assert (folder / "main" / "0.log").read_text().endswith(" stdout F last words\n")
    wait_for(lambda: not folder.exists(), what="the logs to go")


def test_a_cluster_that_died_after_a_delete_still_clears_the_logs_away(
    fresh: Callable[..., EmbeddedCluster],
) -> None:
    cluster = fresh("--log-keep", "1000")
    space = Space(cluster)
    space.run("kept", "echo", "kept")
    space.run("gone", "echo", "gone")
    for name in ("kept", "gone"):
        space.ended(name)
    folders = {name: logs_of(cluster, space, name) for name in ("kept", "gone")}
    space.batch.delete_namespaced_job("gone", space.name, propagation_policy="Background")
    wait_for(lambda: not space.pods("gone"))
    cluster.end(signal.SIGKILL)
    assert folders["gone"].exists()
    cluster.flags = ("--log-keep", "0.1")
    cluster.start()
    wait_for(lambda: not folders["gone"].exists(), what="the logs to go")
    assert folders["kept"].exists()
