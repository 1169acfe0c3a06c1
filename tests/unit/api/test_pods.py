"""A job's pods over HTTP, by name and rank, also after they are gone."""

from __future__ import annotations

from typing import Any

from chalicelib.domain.pods import PodRecord
from chalicelib.domain.states import Status
from chalicelib.errors import ClusterUnavailable
from tests import builders
from tests.builders import JOB_ID, later
from tests.unit.api.conftest import World

PODS = f"/api/jobs/{JOB_ID}/pods"


def with_pods(world: World, *pods: PodRecord) -> None:
    world.store.jobs[JOB_ID] = builders.job(Status.SUCCEEDED, pods=pods)


def listed(world: World, token: str = "acme:member") -> list[Any]:
    reply = world.api.call("GET", PODS, token=token)
    assert reply.status == 200 and reply.body["success"] is True
    pods: list[Any] = reply.body["data"]["pods"]
    return pods


def test_a_pod_says_where_it_ran_and_how_it_ended(world: World) -> None:
    ended: dict[str, Any] = {"started_at": later(3), "finished_at": later(9), "exit_code": 137}
    with_pods(
        world,
        PodRecord(name="a", rank=1, phase="Failed", node="n1", restarts=2, reason="OOMKilled", **ended),
        PodRecord(name="b"),
    )
    assert listed(world) == [
        {
            "name": "b",
            "rank": 0,
            "phase": "Unknown",
            "node": None,
            "startedAt": None,
            "finishedAt": None,
            "restarts": 0,
            "exitCode": None,
            "reason": None,
        },
        {
            "name": "a",
            "rank": 1,
            "phase": "Failed",
            "node": "n1",
            "startedAt": "2026-01-26T10:00:03Z",
            "finishedAt": "2026-01-26T10:00:09Z",
            "restarts": 2,
            "exitCode": 137,
            "reason": "OOMKilled",
        },
    ]


def test_pods_come_by_rank_and_then_oldest_first(world: World) -> None:
    ranks = {"a": 2, "b": 0, "c": 1, "d": 0, "e": 2}
    with_pods(world, *(PodRecord(name=name, rank=rank) for name, rank in ranks.items()))
    assert [pod["name"] for pod in listed(world)] == ["b", "d", "c", "a", "e"]


def test_a_job_that_has_no_pods_yet_has_an_empty_list(world: World) -> None:
    with_pods(world)
    assert listed(world) == []


def test_viewers_read_pods_and_other_tenants_do_not_know_the_job(world: World) -> None:
    with_pods(world, PodRecord(name="a"))
    assert len(listed(world, token="acme:viewer")) == 1
    reply = world.api.call("GET", PODS, token="globex:member")
    assert (reply.status, reply.body["error"]["code"]) == (404, "JobNotFound")


def test_pods_are_answered_while_the_cluster_is_down(world: World) -> None:
    with_pods(world, PodRecord(name="a"))
    world.cluster.broken = ClusterUnavailable("no route")
    assert [pod["name"] for pod in listed(world)] == ["a"]


def test_a_detail_still_names_the_pods_in_both_dialects(world: World) -> None:
    with_pods(world, PodRecord(name="a"), PodRecord(name="b"))
    for path in (f"/api/jobs/{JOB_ID}", f"/api/v1/training/jobs/{JOB_ID}"):
        assert world.api.call("GET", path).body["data"]["pods"] == ["a", "b"]
