"""One job's move from one state to the next, as the world outside is told: docs/events.md."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.domain.job import Job
from chalicelib.domain.states import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """The record that a write made, and the status that it had before; None: it is new."""

    job: Job
    was: Status | None

    @property
    def detail(self) -> dict[str, Any]:
        """What the event says, as docs/events/training-job-state-change.schema.json describes it."""
        job = self.job
        return {
            "id": job.id,
            "name": job.spec.name,
            "tenant": job.tenant,
            "workspace_id": job.spec.workspace_id,
            "pool": job.spec.pool,
            "source": job.source,
            "version": job.version,
            "from": self.was,
            "to": job.status,
            "reason": job.reason,
            "message": job.message,
            "exit_code": job.exit_code,
            "deleted": job.is_deleted,
            "created_at": _text(job.created_at),
            "started_at": _text(job.started_at),
            "finished_at": _text(job.finished_at),
            "changed_at": _text(job.updated_at),
        }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="microseconds")
