"""Terminals: who may have one, and what becomes of the ticket that the relay is handed.

A WebSocket outlives any Lambda, so the api only signs a ticket; the relay, which holds the terminal, redeems
it. Between the two the job may have ended, been deleted, or lost its pod: everything is looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib.domain.events import Event
from chalicelib.domain.job import Job
from chalicelib.domain.observed import Pod
from chalicelib.domain.pools import Pool
from chalicelib.errors import (
    JobFinished,
    JobNotFound,
    PodNotFound,
    PodNotRunning,
    TerminalsNotSetUp,
    TicketUsed,
)
from chalicelib.services.caller import Caller
from chalicelib.services.cluster_ports import Clusters
from chalicelib.services.jobs import Jobs
from chalicelib.services.placement import pool_of
from chalicelib.services.ports import Clock, JobStore
from chalicelib.services.ticket_ports import Grant, Ticket, Tickets


class Terminals:
    """Hands out tickets. `url` is the relay's; empty: there is none."""

    def __init__(
        self,
        jobs: Jobs,
        pools: Mapping[str, Pool],
        clusters: Clusters,
        tickets: Tickets,
        url: str,
    ) -> None:
        self._jobs = jobs
        self._pools = pools
        self._clusters = clusters
        self._tickets = tickets
        self._url = url

    def url(self, caller: Caller, job_id: str, pod: str) -> str:
        """Where a terminal in the pod can be opened, once and soon.

        Raises PodNotFound for a pod that the job never had, PodNotRunning for one that cannot be entered.
        """
        caller.require_write()
        job = self._jobs.get(caller, job_id)
        if not self._url:
            raise TerminalsNotSetUp("TRAINYARD_TERMINAL_URL or TRAINYARD_TERMINAL_SECRET is not set")
        pool = pool_of(self._pools, job.spec.pool)
        pods = self._clusters(pool).pods(pool.namespace_of(job.tenant), job.id)
        _check_running(job, pod, next((seen for seen in pods if seen.name == pod), None))
        grant = Grant(subject=caller.subject, tenant=job.tenant, job_id=job.id, pod=pod, pool=pool.id)
        return f"{self._url}/webterminal/{self._tickets.issue(grant)}"


@dataclass(frozen=True, slots=True)
class Admission:
    """What a good ticket opens, as of now."""

    ticket: Ticket
    pool: Pool
    namespace: str


class Redemption:
    """The relay's side of a ticket."""

    def __init__(
        self,
        store: JobStore,
        pools: Mapping[str, Pool],
        clusters: Clusters,
        tickets: Tickets,
        clock: Clock,
    ) -> None:
        self._store = store
        self._pools = pools
        self._clusters = clusters
        self._tickets = tickets
        self._clock = clock

    def admit(self, text: str) -> Admission:
        """What the ticket opens. Takes nothing yet: a cluster that does not answer costs nobody a ticket."""
        ticket = self._tickets.read(text)
        grant = ticket.grant
        job = self._store.get(grant.job_id)
        if job is None or job.is_deleted or job.tenant != grant.tenant:
            raise JobNotFound(grant.job_id)
        if self._store.ticket_is_used(ticket):
            raise TicketUsed(ticket.id)
        if job.is_terminal:
            raise JobFinished(job.id, job.status)
        pool = pool_of(self._pools, grant.pool)
        admission = Admission(ticket, pool, pool.namespace_of(job.tenant))
        _check_running(job, grant.pod, self._pod(admission))
        return admission

    def take(self, admission: Admission) -> None:
        """Use the ticket up. Raises TicketUsed for everyone but the first."""
        if not self._store.use_ticket(admission.ticket):
            raise TicketUsed(admission.ticket.id)

    def fate(self, admission: Admission) -> str | None:
        """Why the pod can no longer be entered; None while it can."""
        pod = self._pod(admission)
        return "it is gone from the cluster" if pod is None else _why_not(pod)

    def opened(self, admission: Admission) -> None:
        """Note in the job's events that the terminal is open. Noting it again changes nothing."""
        grant = admission.ticket.grant
        self._note(admission, "TerminalOpened", f"{grant.subject} opened a terminal")

    def closed(self, admission: Admission, why: str, seconds: float) -> None:
        """Note that it closed, why, and how long it was open. Noting it again changes nothing."""
        grant = admission.ticket.grant
        message = f"{grant.subject}'s terminal closed after {seconds:.0f} s: {why}"
        self._note(admission, "TerminalClosed", message)

    def _pod(self, admission: Admission) -> Pod | None:
        grant = admission.ticket.grant
        return self._clusters(admission.pool).pod(admission.namespace, grant.job_id, grant.pod)

    def _note(self, admission: Admission, reason: str, message: str) -> None:
        now, ticket = self._clock(), admission.ticket
        event = Event(
            type="Normal",
            reason=reason,
            message=message,
            timestamp=now,
            first_timestamp=now,
            count=1,
            object=f"Pod/{ticket.grant.pod}",
            key=f"{reason}-{ticket.id}",
        )
        self._store.add_event(ticket.grant.job_id, event)


def _check_running(job: Job, name: str, pod: Pod | None) -> None:
    if pod is None:
        known = next((known for known in job.pods if known.name == name), None)
        if known is None:
            raise PodNotFound(name)
        ended = f"; it had {_ended(known.exit_code, known.reason)}" if known.exit_code is not None else ""
        raise PodNotRunning(name, f"it is gone from the cluster{ended}")
    if why := _why_not(pod):
        raise PodNotRunning(name, why)


def _why_not(pod: Pod) -> str | None:
    """What the cluster says of a pod that runs nothing; None of one that does."""
    if pod.phase == "Running" and pod.exit_code is None and not pod.waiting_reason:
        return None
    if pod.exit_code is not None:
        return f"it has {_ended(pod.exit_code, pod.terminated_reason)}"
    told = (
        (pod.waiting_reason, pod.waiting_message),
        ("Unschedulable" if pod.unschedulable else None, pod.unschedulable),
        (pod.reason, pod.message),
    )
    words = next(((reason, message) for reason, message in told if reason), (pod.phase, None))
    return ": ".join(word for word in words if word)


def _ended(exit_code: int, reason: str | None) -> str:
    return f"ended with exit code {exit_code}" + (f" ({reason})" if reason else "")
