"""Metrics as lines of the log, which CloudWatch reads: a metric costs no call and holds nothing up.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
docs/events.md lists them. A dimension is a pool, a status, a reason or a kind, of which there are few; what
there may be many of, job and tenant, stands beside them in the line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

from chalicelib.domain.census import Load
from chalicelib.domain.repair import Repaired
from chalicelib.domain.state_change import StateChange
from chalicelib.domain.states import Status

NAMESPACE = "Trainyard"
_OF_POOL = [["Instance"], ["Instance", "Pool"]]


class Metrics:
    """The meters of services.ports. `out` None: standard output, which Lambda ships as it is."""

    def __init__(self, instance: str, out: TextIO | None = None) -> None:
        self._instance = instance
        self._out = out

    def repaired(self, repaired: Repaired) -> None:
        """services.ports.Meter: a line a repair."""
        counted = _counted([["Instance"], ["Instance", "Kind"]], Repairs="Count")
        self._write(repaired.at, [counted], Kind=repaired.kind, Repairs=1, repaired=repaired.detail)

    def moved(self, change: StateChange) -> None:
        """services.ports.MoveMeter: a line a move."""
        job = change.job
        values: dict[str, Any] = {"Moves": 1}
        directives = [_counted([["Instance", "To"], ["Instance", "Pool", "To"]], Moves="Count")]
        if change.was is None:
            values["Submissions"] = 1
            directives.append(_counted(_OF_POOL, Submissions="Count"))
        if job.status == Status.FAILED:
            values |= {"Failures": 1, "Reason": job.reason}
            directives.append(_counted([*_OF_POOL, ["Instance", "Reason"]], Failures="Count"))
        if change.was == Status.PENDING and job.started_at:
            values["TimeToRunning"] = _milliseconds(job.created_at, job.started_at)
            directives.append(_counted(_OF_POOL, TimeToRunning="Milliseconds"))
        if happened_at := _told_by_the_cluster(change):
            values["SyncLag"] = _milliseconds(happened_at, job.updated_at)
            directives.append(_counted(_OF_POOL, SyncLag="Milliseconds"))
        self._write(
            job.updated_at,
            directives,
            **values,
            Pool=job.spec.pool,
            To=job.status,
            job_id=job.id,
            tenant=job.tenant,
            change=change.detail,
        )

    def loads(self, loads: Sequence[Load], at: datetime) -> None:
        """services.ports.SyncMeter: a line a load."""
        for load in loads:
            scope = {name: of for name, of in (("Pool", load.pool), ("Tenant", load.tenant)) if of}
            counted = _counted([["Instance", *scope]], ActiveJobs="Count", PendingJobs="Count", Gpus="Count")
            self._write(
                at, [counted], **scope, ActiveJobs=load.active, PendingJobs=load.pending, Gpus=load.gpus
            )

    def unreachable(self, pool: str, why: str, at: datetime) -> None:
        """services.ports.SyncMeter: a pool whose cluster could not be looked at."""
        self._write(
            at, [_counted(_OF_POOL, ClusterFailures="Count")], Pool=pool, ClusterFailures=1, why=why[:1000]
        )

    def _write(self, at: datetime, directives: Sequence[Mapping[str, Any]], **members: Any) -> None:
        line = {
            "_aws": {"Timestamp": int(at.timestamp() * 1000), "CloudWatchMetrics": directives},
            "Instance": self._instance,
            **members,
        }
        out = self._out or sys.stdout
        out.write(json.dumps(line) + "\n")  # in one piece: other threads write too
        out.flush()


def _counted(dimensions: Sequence[Sequence[str]], **units: str) -> Mapping[str, Any]:
    metrics = [{"Name": name, "Unit": unit} for name, unit in units.items()]
    return {"Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": metrics}


def _milliseconds(start: datetime, end: datetime) -> int:
    """None below zero: clusters have clocks of their own."""
    return max(0, int((end - start).total_seconds() * 1000))


def _told_by_the_cluster(change: StateChange) -> datetime | None:
    """When the cluster says that it happened, to a whole second; None: it was our own doing."""
    job = change.job
    if job.status == Status.RUNNING:
        return job.started_at
    return job.finished_at if job.status in (Status.SUCCEEDED, Status.FAILED) else None
