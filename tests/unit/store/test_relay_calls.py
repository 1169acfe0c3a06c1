"""The relay's policy has the calls that a terminal makes of the table: no stack tries it with a role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.store import keys
from infra.local import template
from infra.local.config import RESOURCES
from tests.unit.store.claims import TICKET
from tests.unit.store.events import an_event
from tests.unit.store.support import Bench, a_job


def statement() -> Mapping[str, Any]:
    policy = template.read(RESOURCES)["Resources"]["TerminalPolicy"]["Properties"]["PolicyDocument"]
    (one,) = policy["Statement"]
    return dict(one)


def test_the_relay_may_make_the_calls_that_a_terminal_makes_and_no_more(bench: Bench) -> None:
    job = bench.store.create(a_job())
    bench.spy.calls.clear()
    assert bench.store.get(job.id) is not None
    assert not bench.store.ticket_is_used(TICKET)
    assert bench.store.use_ticket(TICKET)
    bench.store.add_event(job.id, an_event())
    made = {call.operation.title().replace("_", "") for call in bench.spy.calls}
    assert {f"dynamodb:{name}" for name in made} == set(statement()["Action"])


def test_the_relay_reaches_jobs_and_tickets_and_nothing_else_in_the_table() -> None:
    (patterns,) = statement()["Condition"]["ForAllValues:StringLike"].values()
    allowed = tuple(pattern.removesuffix("*") for pattern in patterns)
    mine = (keys.job_key("j"), keys.event_key("j", "t", "e"), keys.ticket_key("t"))
    others = (keys.lease_key("sync"), keys.idempotency_key("t", "k"), keys.upload_key("b", "k"))
    assert [key["pk"]["S"].startswith(allowed) for key in mine] == [True] * len(mine)
    assert [key["pk"]["S"].startswith(allowed) for key in others] == [False] * len(others)
