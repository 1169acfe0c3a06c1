"""What is logged about a job names it in fields of their own, which Logs Insights finds it by."""

from __future__ import annotations

import logging

import pytest

from chalicelib.errors import ClusterUnavailable
from tests.builders import running_pod
from tests.unit.services.conftest import Yard


def fields(caplog: pytest.LogCaptureFixture, text: str) -> list[dict[str, object]]:
    """The fields of each line that has `text` in it."""
    names = ("job_id", "tenant", "pool")
    return [
        {name: vars(record).get(name) for name in names}
        for record in caplog.records
        if text in record.getMessage()
    ]


def test_every_decision_about_a_job_names_job_tenant_and_pool(
    yard: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    job_id = yard.run()
    yard.cluster.show(job_id, running_pod())
    yard.sync.look()
    found = fields(caplog, job_id)
    assert len(found) >= 3, "it was accepted, submitted, and seen to run"
    assert found == [{"job_id": job_id, "tenant": "acme", "pool": "default"}] * len(found)


def test_trouble_names_the_job_and_the_pool_that_it_is_with(
    yard: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = yard.submit()
    yard.cluster.before["submit"] = lambda: (_ for _ in ()).throw(ClusterUnavailable("no answer"))
    yard.outbox.deliver([job_id])
    assert [found["job_id"] for found in fields(caplog, "left to the pass")] == [job_id]
    yard.cluster.before["workloads"] = lambda: (_ for _ in ()).throw(ClusterUnavailable("no answer"))
    yard.sync.look()
    assert [found["pool"] for found in fields(caplog, "pool default")] == ["default"]
