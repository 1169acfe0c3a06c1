"""What was last seen of one pool's Jobs and pods: events are painted in one by one, a list paints it anew.

Events may come twice, late or never. An older version of an object never covers a newer one; what never came
is made good by the next list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from chalicelib.cluster import observe
from chalicelib.domain import labels
from chalicelib.domain.observed import Pod, Workload

JOB, POD = "Job", "Pod"

Json = Mapping[str, Any]
_Name = tuple[str, str]  # namespace, name


class Picture:
    """One pool's, for one thread at a time. What changes it gives the ids of the jobs that are not as they
    were."""

    def __init__(self) -> None:
        self._jobs: dict[str, Workload] = {}  # without their pods
        self._pods: dict[str, dict[_Name, Pod]] = {}  # job id → its pods
        self._warnings: dict[str, str] = {}  # job id → why it has no pods
        self._versions: dict[tuple[str, _Name], int] = {}  # also of what is gone

    def workload(self, job_id: str) -> Workload | None:
        job = self._jobs.get(job_id)
        if job is None:
            return None
        here = [pod for (where, _), pod in self._pods.get(job_id, {}).items() if where == job.namespace]
        warning = None if here else self._warnings.get(job_id)
        return replace(job, pods=observe.oldest_first(here), warning=warning)

    def workloads(self) -> list[Workload]:
        return [seen for job_id in self._jobs if (seen := self.workload(job_id))]

    def listed(self, kind: str, values: Iterable[Json]) -> set[str]:
        """All that there is of a kind. What is not in it is gone, without an event that told."""
        before = {job_id: self.workload(job_id) for job_id in {*self._jobs, *self._pods}}
        self.painted_anew(kind, values)
        now = {*before, *self._jobs, *self._pods}
        return {job_id for job_id in now if before.get(job_id) != self.workload(job_id)}

    def painted_anew(self, kind: str, values: Iterable[Json]) -> None:
        """As `listed`, for who does not ask what changed. If `values` break off, all is as it was."""
        anew = Picture()
        for value in values:
            anew._paint(kind, "ADDED", value)
        if kind == JOB:
            self._jobs = anew._jobs
        else:
            self._pods = anew._pods
        others = {key: version for key, version in self._versions.items() if key[0] != kind}
        self._versions = others | anew._versions
        waiting = self._jobs.keys() - self._pods.keys()
        self._warnings = {job_id: text for job_id, text in self._warnings.items() if job_id in waiting}

    def changed(self, kind: str, change: str, value: Json) -> set[str]:
        """One event of a watch: ADDED, MODIFIED or DELETED."""
        job_id = value["metadata"]["labels"][labels.JOB]
        before = self.workload(job_id)
        self._paint(kind, change, value)
        return {job_id} if self.workload(job_id) != before else set()

    def warned(self, job_id: str, message: str) -> set[str]:
        """An Event says why the job has no pods."""
        before = self.workload(job_id)
        if before is None or before.pods or before.outcome or before.suspended:
            return set()
        self._warnings[job_id] = message
        return {job_id} if self.workload(job_id) != before else set()

    def _paint(self, kind: str, change: str, value: Json) -> None:
        metadata = value["metadata"]
        job_id, name = metadata["labels"][labels.JOB], (metadata["namespace"], metadata["name"])
        if kind == JOB and metadata["name"] != job_id:
            return  # somebody's copy of it
        version = int(metadata["resourceVersion"])
        if version <= self._versions.get((kind, name), -1):
            return
        self._versions[kind, name] = version
        if kind == JOB:
            self._paint_job(job_id, change, value)
        else:
            self._paint_pod(job_id, name, change, value)

    def _paint_job(self, job_id: str, change: str, value: Json) -> None:
        if change == "DELETED":
            self._jobs.pop(job_id, None)
        else:
            self._jobs[job_id] = observe.workload(value, ())

    def _paint_pod(self, job_id: str, name: _Name, change: str, value: Json) -> None:
        pods = self._pods.setdefault(job_id, {})
        if change == "DELETED":
            pods.pop(name, None)
        else:
            pods[name] = observe.pod(value)
            self._warnings.pop(job_id, None)
        if not pods:
            del self._pods[job_id]
