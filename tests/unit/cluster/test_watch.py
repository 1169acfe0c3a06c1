"""Whatever a watch loses, repeats or breaks off, what is seen ends as a list would give it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.aside import Aside, in_a_thread, in_turn
from chalicelib.cluster.api import Gone
from chalicelib.cluster.picture import JOB, POD, Picture
from chalicelib.cluster.watch import PoolWatch
from chalicelib.domain.labels import JOB as JOB_LABEL
from chalicelib.domain.observed import Outcome, Workload
from chalicelib.errors import ClusterUnavailable

Json = dict[str, Any]
A, B = "job-a", "job-b"


def a_job(name: str, version: int, *conditions: str, **metadata: Any) -> Json:
    status = {"conditions": [{"type": kind, "status": "True"} for kind in conditions]}
    return {"metadata": _metadata(name, name, version) | metadata, "status": status}


def a_pod(job: str, version: int, phase: str = "Pending", name: str = "") -> Json:
    metadata = _metadata(name or f"{job}-pod", job, version)
    return {"metadata": metadata | {"creationTimestamp": "2026-01-26T10:00:00Z"}, "status": {"phase": phase}}


def _metadata(name: str, job: str, version: int) -> Json:
    labels = {JOB_LABEL: job}
    return {"name": name, "namespace": "ns", "resourceVersion": str(version), "labels": labels}


class FakeApi:
    """A list and a watch of each path. `now` is what there is; `streams` are what the next watches tell, an
    exception where one breaks off."""

    def __init__(self) -> None:
        self.now: dict[str, list[Json]] = {JOB: [], POD: []}
        self.streams: dict[str, list[list[Any]]] = {JOB: [], POD: []}
        self.version = 1
        self.asked: list[tuple[str, str]] = []

    def pages(self, path: str, query: Mapping[str, Any]) -> Iterator[Json]:
        assert query == {"labelSelector": "label"}
        self.asked.append((_kind(path), "list"))
        yield {"metadata": {"resourceVersion": str(self.version)}, "items": self.now[_kind(path)]}

    def watch(self, path: str, query: Mapping[str, Any], seconds: float) -> Iterator[Json]:
        del seconds
        self.asked.append((_kind(path), query["resourceVersion"]))
        for told in self.streams[_kind(path)].pop(0):
            if isinstance(told, Exception):
                raise told
            yield {"type": told[0], "object": told[1]}


def _kind(path: str) -> str:
    return JOB if path.endswith("/jobs") else POD


def watching(api: FakeApi, warning: str | None = None) -> PoolWatch:
    return PoolWatch(api, "", "label", lambda *_: warning)  # type: ignore[arg-type]


def follow(watch: PoolWatch, kind: str) -> set[str]:
    """Follow one kind once, as a thread and its reader do together."""
    changed: set[str] = set()
    try:
        for learn in watch.follows()[[JOB, POD].index(kind)](5):
            changed |= learn()
    except ClusterUnavailable:
        pass
    return changed


def phases(seen: Workload | None) -> list[str] | None:
    return None if seen is None else [pod.phase for pod in seen.pods]


NEWS: dict[str, tuple[list[list[Any]], list[str] | None, list[str]]] = {
    # what the pods' watches tell; the phases then seen; from where each watch, or list, began
    "told once": ([[("MODIFIED", a_pod(A, 5, "Running"))]], ["Running"], ["1"]),
    "told twice": ([[("MODIFIED", a_pod(A, 5, "Running"))] * 2], ["Running"], ["1"]),
    "told in another order": (
        [[("MODIFIED", a_pod(A, 6, "Succeeded")), ("MODIFIED", a_pod(A, 5, "Running"))]],
        ["Succeeded"],
        ["1"],
    ),
    "deleted": ([[("DELETED", a_pod(A, 5))]], [], ["1"]),
    "deleted, and an older change after it": (
        [[("DELETED", a_pod(A, 6)), ("MODIFIED", a_pod(A, 5, "Running"))]],
        [],
        ["1"],
    ),
    "dropped, and taken up where it was": (
        [
            [("MODIFIED", a_pod(A, 5, "Running")), ClusterUnavailable("reset")],
            [("MODIFIED", a_pod(A, 6, "Failed"))],
        ],
        ["Failed"],
        ["1", "5"],
    ),
    "a bookmark moves the place to go on from": (
        [[("BOOKMARK", {"metadata": {"resourceVersion": "9"}}), ClusterUnavailable("reset")], []],
        ["Pending"],
        ["1", "9"],
    ),
    "forgotten (410), and listed": ([[Gone("too old")], []], ["Listed"], ["1", "list", "7"]),
    "an expired token, and taken up": (
        [[ClusterUnavailable("401 Unauthorized")], [("MODIFIED", a_pod(A, 5, "Running"))]],
        ["Running"],
        ["1", "1"],
    ),
}


@pytest.mark.parametrize(("streams", "seen", "begun"), NEWS.values(), ids=NEWS)
def test_a_watch_ends_with_what_is_there(
    streams: list[list[Any]], seen: list[str] | None, begun: list[str]
) -> None:
    api = FakeApi()
    api.now = {JOB: [a_job(A, 1)], POD: [a_pod(A, 1)]}
    watch = watching(api)
    watch.workloads()
    api.asked, api.version = [], 7
    api.now[POD] = [a_pod(A, 7, "Listed")]
    api.streams[POD] = [*streams]
    while api.streams[POD]:
        follow(watch, POD)
    assert phases(watch.workload(A)) == seen
    assert [where for _, where in api.asked] == begun


def test_a_deletion_that_happened_while_the_version_was_forgotten_is_seen_in_the_list() -> None:
    api = FakeApi()
    api.now = {JOB: [a_job(A, 1), a_job(B, 1)], POD: []}
    watch = watching(api)
    watch.workloads()
    api.now[JOB], api.version = [a_job(B, 1)], 9
    api.streams[JOB] = [[Gone("too old")], []]
    assert follow(watch, JOB) == set()
    assert follow(watch, JOB) == {A}, "what did not change is not told of"
    assert watch.workload(A) is None


def test_a_watch_that_was_never_listed_lists_by_itself() -> None:
    api = FakeApi()
    api.now = {JOB: [a_job(A, 1, "Complete")], POD: []}
    api.streams[JOB] = [[]]
    watch = watching(api)
    assert follow(watch, JOB) == {A}
    seen = watch.workload(A)
    assert seen is not None and seen.outcome == Outcome.COMPLETE


def test_a_copy_under_another_name_is_not_the_job() -> None:
    api = FakeApi()
    api.now[JOB] = [a_job(A, 1) | {"metadata": _metadata("copy", A, 1)}]
    assert watching(api).workloads() == []


def test_why_a_job_has_no_pods_is_told_by_the_list_and_by_events_until_it_has_one() -> None:
    api = FakeApi()
    api.now[JOB] = [a_job(A, 1)]
    watch = watching(api, "exceeded quota")
    (seen,) = watch.workloads()
    assert seen.warning == "exceeded quota"
    assert watch.warned(A, "exceeded quota") == set()
    assert watch.warned(A, "still exceeded") == {A}
    api.streams[POD] = [[("ADDED", a_pod(A, 5))]]
    assert follow(watch, POD) == {A}
    seen = watch.workload(A)  # type: ignore[assignment]
    assert seen.warning is None


# ---- any disorder


Step = tuple[str, str, Json]  # kind, change, object
NAMES = ["job-a", "job-b", "job-c"]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Step], list[Json], list[Json]]:
    """What happened, in order, and the Jobs and pods that there are in the end."""
    steps: list[Step] = []
    standing: dict[tuple[str, str], Json] = {}
    for version in range(1, draw(st.integers(1, 25))):
        kind, job = draw(st.sampled_from([JOB, POD])), draw(st.sampled_from(NAMES))
        if kind == JOB:
            value = a_job(job, version, *draw(st.sampled_from([(), ("Complete",)])))
        else:
            phase = draw(st.sampled_from(["Pending", "Running", "Failed"]))
            value = a_pod(job, version, phase, f"{job}-{draw(st.integers(0, 1))}")
        key = kind, value["metadata"]["name"]
        change = draw(st.sampled_from(["MODIFIED", "DELETED"])) if key in standing else "ADDED"
        steps.append((kind, change, value))
        standing[key] = value
        if change == "DELETED":
            del standing[key]
    jobs = [value for (kind, _), value in standing.items() if kind == JOB]
    return steps, jobs, [value for (kind, _), value in standing.items() if kind == POD]


def seen_by(picture: Picture) -> dict[str, Workload | None]:
    return {name: picture.workload(name) for name in NAMES}


@given(histories(), st.randoms(use_true_random=False))
def test_events_that_come_twice_and_in_any_order_end_as_a_list_does(
    history: tuple[list[Step], list[Json], list[Json]], random: Any
) -> None:
    steps, jobs, pods = history
    told = steps + random.sample(steps, random.randrange(len(steps) + 1))
    random.shuffle(told)
    picture, listed = Picture(), Picture()
    for step in told:
        picture.changed(*step)
    listed.listed(JOB, jobs)
    listed.listed(POD, pods)
    assert seen_by(picture) == seen_by(listed)


@given(histories(), st.randoms(use_true_random=False))
def test_events_that_never_come_are_made_good_by_a_list_which_tells_what_they_would_have(
    history: tuple[list[Step], list[Json], list[Json]], random: Any
) -> None:
    steps, jobs, pods = history
    picture = Picture()
    for step in random.sample(steps, random.randrange(len(steps) + 1)):
        picture.changed(*step)
    before = seen_by(picture)
    changed = picture.listed(JOB, jobs) | picture.listed(POD, pods)
    listed = Picture()
    listed.listed(JOB, jobs)
    listed.listed(POD, pods)
    assert seen_by(picture) == seen_by(listed)
    assert {name for name in NAMES if before[name] != picture.workload(name)} <= changed


def test_a_list_that_breaks_off_leaves_what_was_seen() -> None:
    def breaks_off() -> Iterator[Json]:
        yield a_job(B, 2)
        raise ClusterUnavailable("reset")

    picture = Picture()
    picture.listed(JOB, [a_job(A, 1)])
    with pytest.raises(ClusterUnavailable):
        picture.listed(JOB, breaks_off())
    assert [seen.job_id for seen in picture.workloads()] == [A]


class Paged(FakeApi):
    """Lists come a page an object; the next is made while one is used."""

    def __init__(self) -> None:
        super().__init__()
        self.now[JOB] = [a_job(A, 1), a_job(B, 2)]
        self.now[POD] = [a_pod(A, 3), a_pod(B, 4)]

    def pages(self, path: str, query: Mapping[str, Any]) -> Iterator[Json]:
        for page in super().pages(path, query):
            for item in page["items"]:
                self.asked.append((_kind(path), item["metadata"]["name"]))
                yield {**page, "items": [item]}


@pytest.mark.parametrize("aside", [in_turn, in_a_thread], ids=["in turn", "in threads"])
def test_all_pages_of_the_jobs_come_before_the_first_of_the_pods(aside: Aside) -> None:
    api = Paged()
    seen = PoolWatch(api, "", "label", lambda *_: None, aside).workloads()  # type: ignore[arg-type]
    assert {one.job_id: phases(one) for one in seen} == {A: ["Pending"], B: ["Pending"]}
    assert [kind for kind, _ in api.asked] == [JOB] * 3 + [POD] * 3
