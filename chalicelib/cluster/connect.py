"""Which cluster a pool means, connected to on first use and kept for the container's life."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial

from chalicelib.aside import Aside, in_turn
from chalicelib.cluster.api import KubernetesApi
from chalicelib.cluster.kubernetes import KubernetesCluster
from chalicelib.cluster.sign_in import MakeSignIn
from chalicelib.cluster.traced import ClusterTrace
from chalicelib.domain.pools import Pool
from chalicelib.errors import ClusterUnavailable


class ConnectedClusters:
    """The Clusters port, for the clusters of settings.Settings. `eks` makes the sign-in of one on EKS,
    `trace` records their calls."""

    def __init__(
        self,
        clusters: Mapping[str, Mapping[str, str]],
        instance: str,
        timeout_seconds: float,
        eks: Callable[[Mapping[str, str]], MakeSignIn],
        trace: ClusterTrace,
        aside: Aside = in_turn,
    ) -> None:
        self._clusters = clusters
        self._instance = instance
        self._timeout_seconds = timeout_seconds
        self._eks = eks
        self._trace = trace
        self._aside = aside
        self._connected: dict[str, KubernetesCluster] = {}
        self._lock = threading.Lock()

    def __call__(self, pool: Pool) -> KubernetesCluster:
        """Raises ClusterUnavailable when the pool's cluster is not configured. Nobody signs in before the
        first call of a cluster: one that is down holds up no other."""
        with self._lock:
            if pool.cluster not in self._connected:
                self._connected[pool.cluster] = self._connect(pool.cluster)
            return self._connected[pool.cluster]

    def _connect(self, cluster: str) -> KubernetesCluster:
        if cluster not in self._clusters:
            raise ClusterUnavailable(f"cluster {cluster!r} is not configured")
        settings, trace = self._clusters[cluster], partial(self._trace, f"Kubernetes {cluster}")
        if "eks" in settings:
            api = KubernetesApi.from_sign_in(self._eks(settings), self._timeout_seconds, trace)
        else:
            path, context = settings.get("kubeconfig"), settings.get("context")
            api = KubernetesApi.from_kubeconfig(path, context, self._timeout_seconds, trace)
        return KubernetesCluster(api, self._instance, self._aside)
