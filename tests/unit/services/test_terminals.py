"""Who gets a ticket, and what the relay is told when it redeems one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.pods import PodRecord
from chalicelib.domain.states import Status
from chalicelib.errors import (
    ClusterUnavailable,
    JobFinished,
    JobNotFound,
    PodNotFound,
    PodNotRunning,
    PoolMissing,
    StoreUnavailable,
    TicketUsed,
    TrainyardError,
)
from chalicelib.services.terminals import Redemption, Terminals
from chalicelib.tickets import SignedTickets
from tests import builders
from tests.unit.services.conftest import ADA, POOLS, Yard
from tests.unit.store.support import client_error, deleted, moved

SECRET = "s" * 32
URL = "ws://relay"


@dataclass
class Desk:
    """A running job, and both sides of its tickets."""

    yard: Yard
    job_id: str
    pod: str

    def __post_init__(self) -> None:
        self._number = iter(range(1000))
        tickets = SignedTickets(SECRET, self.yard.clock, lambda: f"t{next(self._number)}")
        self.terminals = Terminals(self.yard.jobs, POOLS, self.yard.cluster, tickets, URL)
        yard = self.yard
        self.redemption = Redemption(yard.store, POOLS, yard.cluster, tickets, yard.clock)

    def ticket(self) -> str:
        return self.terminals.url(ADA, self.job_id, self.pod).rpartition("/")[2]

    def shows(self, **changes: Any) -> None:
        self.yard.cluster.show(self.job_id, builders.running_pod(name=self.pod, **changes))

    def change(self, **changes: Any) -> None:
        job = self.yard.jobs.get(ADA, self.job_id)
        self.yard.store.save(moved(job, changes.pop("status", job.status), **changes), job)


@pytest.fixture
def desk(yard: Yard) -> Desk:
    job_id = yard.run()
    made = Desk(yard, job_id, f"{job_id}-abcde")
    made.shows()
    return made


def test_a_good_ticket_opens_the_pod_that_it_names(desk: Desk) -> None:
    admission = desk.redemption.admit(desk.ticket())
    assert (admission.ticket.grant.pod, admission.namespace) == (desk.pod, builders.NAMESPACE)
    assert (admission.ticket.grant.subject, admission.pool.id) == ("ada", "default")
    desk.redemption.take(admission)


def test_a_ticket_is_good_once(desk: Desk) -> None:
    text = desk.ticket()
    first, second = desk.redemption.admit(text), desk.redemption.admit(text)
    desk.redemption.take(first)
    with pytest.raises(TicketUsed):
        desk.redemption.take(second)
    with pytest.raises(TicketUsed):
        desk.redemption.admit(text)


def test_a_relay_that_dies_before_it_takes_a_ticket_leaves_it_good(desk: Desk) -> None:
    text = desk.ticket()
    desk.redemption.admit(text)
    desk.redemption.take(desk.redemption.admit(text))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"phase": "Pending"}, "Pending"),
        ({"phase": "Pending", "unschedulable": "0/1 nodes"}, "Unschedulable: 0/1 nodes"),
        (
            {"phase": "Pending", "waiting_reason": "ImagePullBackOff", "waiting_message": "no such image"},
            "ImagePullBackOff: no such image",
        ),
        ({"phase": "Running", "waiting_reason": "CrashLoopBackOff"}, "CrashLoopBackOff"),
        (
            {"phase": "Running", "exit_code": 137, "terminated_reason": "OOMKilled"},
            r"exit code 137 \(OOMKilled\)",
        ),
        ({"phase": "Succeeded", "exit_code": 0, "terminated_reason": "Completed"}, "exit code 0"),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on disk"}, "Evicted: low on disk"),
    ],
)
def test_a_pod_that_does_not_run_is_refused_with_the_reason(
    desk: Desk, changes: dict[str, Any], why: str
) -> None:
    before = desk.ticket()
    desk.shows(**changes)
    with pytest.raises(PodNotRunning, match=why):
        desk.ticket()
    with pytest.raises(PodNotRunning, match=why):
        desk.redemption.admit(before)


def test_a_pod_that_is_gone_is_another_thing_than_one_that_never_was(desk: Desk) -> None:
    desk.change(pods=(PodRecord(name=desk.pod, phase="Failed", exit_code=137, reason="OOMKilled"),))
    desk.yard.cluster.show(desk.job_id)
    gone = r"gone from the cluster; it had ended with exit code 137 \(OOMKilled\)"
    with pytest.raises(PodNotRunning, match=gone):
        desk.ticket()
    with pytest.raises(PodNotFound):
        desk.terminals.url(ADA, desk.job_id, "never-was")


def after_issue(kind: str, desk: Desk) -> None:
    """Something that happens between the ticket and its redemption."""
    job = desk.yard.jobs.get(ADA, desk.job_id)
    match kind:
        case "deleted":
            desk.yard.store.save(deleted(job), job)
        case "ended":
            desk.change(status=Status.FAILED)
        case "another tenant's":
            desk.change(tenant="rival")
        case "cluster down":
            desk.yard.cluster.broken = ClusterUnavailable("down")
        case "table down":
            desk.yard.bench.spy.fail("get_item", client_error("InternalServerError"))


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("deleted", JobNotFound),
        ("ended", JobFinished),
        ("another tenant's", JobNotFound),
        ("cluster down", ClusterUnavailable),
        ("table down", StoreUnavailable),
    ],
)
def test_what_changed_since_the_ticket_was_made_counts(
    desk: Desk, kind: str, error: type[TrainyardError]
) -> None:
    text = desk.ticket()
    after_issue(kind, desk)
    with pytest.raises(error):
        desk.redemption.admit(text)


def test_a_ticket_that_could_not_be_checked_is_still_good_afterwards(desk: Desk) -> None:
    text = desk.ticket()
    desk.yard.cluster.broken = ClusterUnavailable("down")
    with pytest.raises(ClusterUnavailable):
        desk.redemption.admit(text)
    desk.yard.cluster.broken = None
    desk.redemption.take(desk.redemption.admit(text))


def test_a_ticket_of_a_pool_that_is_no_longer_configured_says_so(desk: Desk) -> None:
    text = desk.ticket()
    tickets = SignedTickets(SECRET, desk.yard.clock, lambda: "")
    with pytest.raises(PoolMissing):
        Redemption(desk.yard.store, {}, desk.yard.cluster, tickets, desk.yard.clock).admit(text)


def test_an_admins_ticket_is_for_the_jobs_own_tenant(desk: Desk) -> None:
    admin = replace(ADA, tenant="ops", roles=frozenset(type(next(iter(ADA.roles)))))
    text = desk.terminals.url(admin, desk.job_id, desk.pod).rpartition("/")[2]
    assert desk.redemption.admit(text).ticket.grant.tenant == "acme"


def test_a_ticket_lasts_a_minute(desk: Desk) -> None:
    text = desk.ticket()
    ends = desk.redemption.admit(text).ticket.expires_at
    assert ends - desk.yard.clock() <= timedelta(seconds=60)
