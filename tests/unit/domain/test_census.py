"""What the active jobs of each pool and tenant hold."""

from __future__ import annotations

from chalicelib.domain.census import Load, census
from chalicelib.domain.states import Status
from tests.builders import job, spec


def test_nothing_active_is_nothing_to_tell() -> None:
    assert census([]) == []
    assert census([job(Status.SUCCEEDED)]) == [], "it is unsettled, since it was deleted"


def test_jobs_count_for_all_for_their_pool_and_for_their_tenant_there() -> None:
    jobs = [
        job(Status.PENDING),
        job(Status.RUNNING, spec=spec(nodes=3)),
        job(Status.STOPPING),
        job(Status.RUNNING, tenant="umbrella"),
        job(Status.PENDING, spec=spec(pool="a100")),
    ]
    assert census(jobs) == [
        Load(active=5, pending=2, gpus=10),
        Load(pool="default", active=4, pending=1, gpus=10),
        Load(pool="a100", active=1, pending=1),
        Load(pool="default", tenant="acme", active=3, pending=1, gpus=8),
        Load(pool="default", tenant="umbrella", active=1, gpus=2),
        Load(pool="a100", tenant="acme", active=1, pending=1),
    ]


def test_of_many_tenants_the_greatest_are_told_and_none_is_left_out_of_the_sums() -> None:
    jobs = [job(Status.RUNNING, tenant=f"t{n}", spec=spec(nodes=n)) for n in range(1, 10)]
    found = census(jobs, most=2)
    assert [load.tenant for load in found if load.tenant] == ["t9", "t8"]
    assert found[0].active == 9
