"""One real cluster process per test session, and more for the tests that kill theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.functional.kubernetes.clusters import Cluster, Space


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    made.start()
    yield made
    assert made.end() == 0


@pytest.fixture
def space(cluster: Cluster) -> Iterator[Space]:
    made = Space(cluster)
    yield made
    made.core.delete_namespace(made.name)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Clusters to be killed: ended at the test's end whatever became of them."""
    made: list[Cluster] = []

    def start(*flags: str) -> Cluster:
        cluster = Cluster(tmp_path, *flags)
        made.append(cluster)
        cluster.start()
        return cluster

    yield start
    for cluster in made:
        if cluster.process and cluster.process.poll() is None:
            cluster.end()
