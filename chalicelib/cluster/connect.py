"""Which cluster a pool means, connected to on first use and kept for the container's life."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from chalicelib.cluster.api import KubernetesApi
from chalicelib.cluster.kubernetes import KubernetesCluster
from chalicelib.domain.pools import Pool
from chalicelib.errors import ClusterUnavailable


class ConnectedClusters:
    """The Clusters port. `clusters` maps an id to {"kubeconfig": path, "context": name}, both optional."""

    def __init__(
        self, clusters: Mapping[str, Mapping[str, str]], instance: str, timeout_seconds: float
    ) -> None:
        self._clusters = clusters
        self._instance = instance
        self._timeout_seconds = timeout_seconds
        self._connected: dict[str, KubernetesCluster] = {}
        self._lock = threading.Lock()

    def __call__(self, pool: Pool) -> KubernetesCluster:
        """Raises ClusterUnavailable when the pool's cluster is not configured or its sign-in fails."""
        with self._lock:
            if pool.cluster not in self._connected:
                self._connected[pool.cluster] = self._connect(pool.cluster)
            return self._connected[pool.cluster]

    def _connect(self, cluster: str) -> KubernetesCluster:
        if cluster not in self._clusters:
            raise ClusterUnavailable(f"cluster {cluster!r} is not configured")
        settings = self._clusters[cluster]
        api = KubernetesApi.from_kubeconfig(
            settings.get("kubeconfig"), settings.get("context"), self._timeout_seconds
        )
        return KubernetesCluster(api, self._instance)
