"""Whose pod is it? The pod's labels say so, by a question to the Kubernetes API that is asked once a pod."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Any, Protocol

from chalicelib.cluster.api import NotFoundInCluster
from chalicelib.domain import labels
from chalicelib.errors import ClusterRejected, ClusterUnavailable
from infra.local.log_files import Pod

REST_SECONDS = 2.0
# Pods of a Job begin with its name, and that is the job's id.
_POD_OF_JOB = re.compile(r"(job-[0-9a-z]{26})-.+")

log = logging.getLogger("shipper")


class Api(Protocol):
    """What this module asks of chalicelib.cluster.api.KubernetesApi."""

    def get(self, path: str) -> dict[str, Any]: ...


class Owners:
    """Finds the job that a pod belongs to. `instance` is this Trainyard's name in the cluster."""

    def __init__(
        self, connect: Callable[[], Api], instance: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connect = connect
        self._instance = instance
        self._clock = clock
        self._api: Api | None = None
        self._known: dict[Pod, str] = {}
        self._rest_until = 0.0

    def job_of(self, pod: Pod, *, last_chance: bool = False) -> str | None:
        """The job's id, "" for a pod that is none of ours, None while the cluster does not tell.

        A pod that was deleted before it was looked up is known by its name alone, and so is one that the
        cluster does not tell of at the last chance: two Trainyards that share a node may then both take it.
        """
        if pod not in self._known:
            found = self._ask(pod)
            if found is None and not last_chance:
                return None
            self._known[pod] = _by_name(pod) if found is None else found
        return self._known[pod]

    def forget_all_but(self, pods: set[Pod]) -> None:
        self._known = {pod: job for pod, job in self._known.items() if pod in pods}

    def _ask(self, pod: Pod) -> str | None:
        if self._clock() < self._rest_until:
            return None
        try:
            self._api = self._api or self._connect()
            metadata = self._api.get(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}")["metadata"]
        except NotFoundInCluster:
            return _by_name(pod)
        except (ClusterUnavailable, ClusterRejected) as error:
            log.warning("the cluster does not tell whose pod %s is: %s", pod.name, error)
            self._rest_until = self._clock() + REST_SECONDS
            return None
        if metadata["uid"] != pod.uid:
            return _by_name(pod)  # another one of the same name
        found = metadata.get("labels") or {}
        return str(found.get(labels.JOB, "")) if found.get(labels.INSTANCE) == self._instance else ""


def _by_name(pod: Pod) -> str:
    found = _POD_OF_JOB.fullmatch(pod.name)
    return found[1] if found else ""
