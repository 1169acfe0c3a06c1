"""What is logged about a job names it in fields of their own, which Logs Insights finds it by."""

from __future__ import annotations

import logging

import pytest

from chalicelib.errors import ClusterUnavailable
from chalicelib.services.submission import Stamps, Submission
from tests.builders import running_pod
from tests.unit.services.conftest import ADA, MANIFEST, POOLS, REQUEST, Yard
from tests.unit.store.support import a_job


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


def test_what_a_recorded_request_set_off_names_its_trace(
    yard: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trace = "1-5759e988-bd862e3fe1be46a994272793"
    stamps = Stamps(yard.clock, lambda _: a_job(7).id, lambda: f"{trace}:53995c3f42cd8ad8")
    job_id = Submission(yard.store, POOLS, {}, MANIFEST, stamps).submit(ADA, REQUEST).id
    yard.outbox.deliver([job_id])
    untraced = yard.run()
    told = [(vars(record).get("job_id"), vars(record).get("xray_trace_id")) for record in caplog.records]
    assert {one for one in told if one[0]} == {(job_id, trace), (untraced, None)}


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
