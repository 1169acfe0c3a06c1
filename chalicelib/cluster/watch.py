"""One pool's workloads, listed once and watched from there: cluster_ports.Watch on a Kubernetes API."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from chalicelib.aside import Aside, ahead, in_turn
from chalicelib.cluster.api import Gone, KubernetesApi
from chalicelib.cluster.picture import JOB, POD, Picture
from chalicelib.domain.observed import Workload
from chalicelib.services.cluster_ports import Follow, Learn

log = logging.getLogger(__name__)

WARNINGS = 20  # Jobs without pods whose Events one list looks up

Warn = Callable[[str, str], str | None]  # namespace, name → why the Job has no pods


class PoolWatch:
    """`where` is a path's part that names the namespace, or empty; `selector` finds the pool's objects."""

    def __init__(
        self, api: KubernetesApi, where: str, selector: str, warning: Warn, aside: Aside = in_turn
    ) -> None:
        self._api = api
        self._paths = {JOB: f"/apis/batch/v1{where}/jobs", POD: f"/api/v1{where}/pods"}
        self._query = {"labelSelector": selector}
        self._warning = warning
        self._aside = aside
        self._picture = Picture()
        self._versions: dict[str, str] = {}  # kind → from where its watch goes on

    def workloads(self) -> Sequence[Workload]:
        """Jobs first: what is then seen of their pods is not older than what is seen of them."""
        for kind in (JOB, POD):
            self._picture.painted_anew(kind, self._list(kind))
        seen = self._picture.workloads()
        warned = False
        for one in islice(filter(_waits_for_pods, seen), WARNINGS):
            if message := self._warning(one.namespace, one.job_id):
                warned |= bool(self._picture.warned(one.job_id, message))
        return self._picture.workloads() if warned else seen

    def workload(self, job_id: str) -> Workload | None:
        return self._picture.workload(job_id)

    def warned(self, job_id: str, message: str) -> set[str]:
        return self._picture.warned(job_id, message)

    def follows(self) -> Sequence[Follow]:
        return [partial(self._follow, kind) for kind in (JOB, POD)]

    def close(self) -> None:
        self._api.hang_up()

    def _follow(self, kind: str, seconds: float) -> Iterator[Learn]:
        if kind not in self._versions:
            yield partial(self._picture.listed, kind, list(self._list(kind)))
        query = {**self._query, "resourceVersion": self._versions[kind]}
        try:
            for change in self._api.watch(self._paths[kind], query, seconds):
                value = change["object"]
                if change["type"] != "BOOKMARK":
                    yield partial(self._picture.changed, kind, change["type"], value)
                self._versions[kind] = value["metadata"]["resourceVersion"]
        except Gone as error:
            log.info("%s: listing, as %s", self._paths[kind], error)
            del self._versions[kind]

    def _list(self, kind: str) -> Iterator[Mapping[str, Any]]:
        """The cluster makes the next page while this one is read."""
        version = ""
        for page in ahead(self._aside, self._api.pages(self._paths[kind], self._query)):
            version = page["metadata"]["resourceVersion"]
            yield from page.get("items") or ()
        self._versions[kind] = version


def _waits_for_pods(seen: Workload) -> bool:
    return not (seen.pods or seen.suspended or seen.outcome)
