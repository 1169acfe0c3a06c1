"""One embedded cluster per test session, and more for the tests that kill theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.functional.kubernetes.clusters import Cluster, EmbeddedCluster, Space


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    made = EmbeddedCluster(tmp_path_factory.mktemp("cluster"))
    made.start()
    yield made
    assert made.end() == 0


@pytest.fixture
def cluster(embedded: EmbeddedCluster) -> Cluster:
    return embedded


@pytest.fixture
def space(cluster: Cluster) -> Iterator[Space]:
    made = Space(cluster)
    yield made
    made.core.delete_namespace(made.name)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[..., EmbeddedCluster]]:
    """Clusters to be killed: ended at the test's end whatever became of them."""
    made: list[EmbeddedCluster] = []

    def start(*flags: str) -> EmbeddedCluster:
        cluster = EmbeddedCluster(tmp_path, *flags)
        made.append(cluster)
        cluster.start()
        return cluster

    yield start
    for cluster in made:
        if cluster.process and cluster.process.poll() is None:
            cluster.end()
