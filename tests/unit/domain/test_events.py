"""What a record's change tells: a row a kind of change."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.events import Event, event_of
from chalicelib.domain.job import Job, Reason
from chalicelib.domain.states import Status
from tests.builders import JOB_ID, job, later

PENDING = job()
SUBMITTED = job(reason=Reason.SUBMITTED, submitted_at=later(1))
RUNNING = job(Status.RUNNING, reason=Reason.RUNNING, message="running on node n1")
STOPPING = job(Status.STOPPING, reason=Reason.STOP_REQUESTED)


def changed(was: Job, reason: Reason, status: Status | None = None, **changes: Any) -> Event | None:
    values = {"reason": reason, "message": f"so {reason}", "status": status or was.status, **changes}
    return event_of(was.changed(later(7), **values), was)


def test_a_new_record_tells_that_it_was_accepted() -> None:
    told = event_of(job(message="accepted; not yet handed to the cluster"), None)
    assert told == Event(
        type="Normal",
        reason="Accepted",
        message="accepted; not yet handed to the cluster",
        timestamp=PENDING.created_at,
        first_timestamp=PENDING.created_at,
        count=1,
        object=f"Job/{JOB_ID}",
        key="v1",
    )


@pytest.mark.parametrize(
    ("was", "reason", "status", "kind"),
    [
        pytest.param(PENDING, Reason.SUBMITTED, None, "Normal", id="it is handed to the cluster"),
        pytest.param(SUBMITTED, Reason.QUEUED, None, "Normal", id="it waits for its queue"),
        pytest.param(PENDING, Reason.NAMESPACE_MISSING, None, "Warning", id="no namespace"),
        pytest.param(PENDING, Reason.CLUSTER_UNAVAILABLE, None, "Warning", id="no answer"),
        pytest.param(PENDING, Reason.CLUSTER_FORBIDS, None, "Warning", id="forbidden"),
        pytest.param(PENDING, Reason.POOL_MISSING, None, "Warning", id="no pool"),
        pytest.param(RUNNING, Reason.RETRYING, None, "Warning", id="a pod failed and is replaced"),
        pytest.param(RUNNING, Reason.STOP_REQUESTED, Status.STOPPING, "Normal", id="a stop is asked for"),
        pytest.param(STOPPING, Reason.STOPPED, Status.STOPPED, "Normal", id="it stopped"),
        pytest.param(RUNNING, Reason.COMPLETED, Status.SUCCEEDED, "Normal", id="it succeeded"),
        pytest.param(RUNNING, Reason.EXIT_CODE, Status.FAILED, "Warning", id="it failed"),
        pytest.param(RUNNING, Reason.JOB_DELETED, Status.FAILED, "Warning", id="its Job was deleted"),
        pytest.param(
            SUBMITTED, Reason.CONTAINER_START_FAILED, Status.FAILED, "Warning", id="it never started"
        ),
    ],
)
def test_a_new_status_or_reason_is_told_in_the_records_words(
    was: Job, reason: Reason, status: Status | None, kind: str
) -> None:
    told = changed(was, reason, status)
    assert told is not None
    assert (told.type, told.reason, told.message) == (kind, reason, f"so {reason}")
    assert (told.timestamp, told.first_timestamp, told.key) == (later(7), later(7), "v2")


@pytest.mark.parametrize(
    ("was", "reason", "status"),
    [
        pytest.param(SUBMITTED, Reason.STARTING, None, id="a pod is scheduled"),
        pytest.param(SUBMITTED, Reason.RUNNING, Status.RUNNING, id="a pod is started"),
        pytest.param(SUBMITTED, Reason.UNSCHEDULABLE, None, id="no node fits"),
        pytest.param(SUBMITTED, Reason.IMAGE_PULL_BACK_OFF, None, id="an image cannot be pulled"),
        pytest.param(SUBMITTED, Reason.CONTAINER_START_FAILED, None, id="a container cannot be started"),
        pytest.param(SUBMITTED, Reason.POD_CREATION_FAILED, None, id="a pod cannot be created"),
    ],
)
def test_what_kubernetes_tells_itself_has_no_twin(was: Job, reason: Reason, status: Status | None) -> None:
    assert changed(was, reason, status) is None


def test_a_change_of_neither_status_nor_reason_tells_nothing() -> None:
    assert changed(STOPPING, Reason.STOP_REQUESTED, exit_code=143) is None


def test_a_deleted_job_tells_nobody() -> None:
    assert changed(RUNNING, Reason.DELETE_REQUESTED, Status.STOPPING, deleted_at=later(7)) is None
