"""A job's log over its pods and over both of its sources: every line once, in order, whatever happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from chalicelib.domain.log_cursor import Cursor, decode, encode
from chalicelib.domain.pods import PodRecord
from chalicelib.domain.states import Status
from chalicelib.errors import ClusterUnavailable, LogsUnavailable, PodNotFound
from chalicelib.services.job_log import Page
from chalicelib.services.jobs import Jobs
from chalicelib.services.logs import LOOK_AGAIN, Ask, Logs, Pace
from chalicelib.services.pod_log import Source
from chalicelib.services.shared_archive import AT_THE_END
from tests import builders
from tests.builders import JOB_ID, NAMESPACE, NOW, POOL, later
from tests.fake_cluster import FakeCluster
from tests.unit.api.fakes import FakeStore
from tests.unit.services.conftest import ADA

SHIPPING = timedelta(seconds=30)
CERTAIN = SHIPPING + AT_THE_END + timedelta(seconds=1)  # nothing is shipped any more, and all know it
A, B, C = (f"{JOB_ID}-{name}" for name in "abc")
NODE, ARCHIVE = frozenset({Source.KUBERNETES}), frozenset({Source.CLOUDWATCH})


class World:
    """A job with a log, on a cluster and in an archive that the test moves on."""

    def __init__(self) -> None:
        self.store, self.cluster = FakeStore(), FakeCluster(NAMESPACE)
        self.logs, self.now = self.cluster.printed, NOW
        self.reads = Logs(
            Jobs(cast(Any, self.store), self.clock),
            {POOL.id: POOL},
            self.cluster,
            self.logs.archive,
            self.clock,
            Pace(shipping=SHIPPING, sleep=self.sleep),
        )
        self.job(Status.RUNNING)

    def clock(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.logs.while_waiting()

    def job(self, status: Status, *pods: str, nodes: int = 1) -> None:
        finished = self.now if status in (Status.SUCCEEDED, Status.STOPPED) else None
        self.store.jobs[JOB_ID] = builders.job(
            status, pods=builders.pods(*pods), finished_at=finished, spec=builders.spec(nodes=nodes)
        )

    def runs(self, *names: str) -> None:
        """The job has these pods, each on the next rank, and all of them run."""
        pods = [builders.running_pod(name=name, rank=rank) for rank, name in enumerate(names)]
        self.cluster.jobs[JOB_ID] = builders.workload(*pods)

    def ends(self, name: str) -> None:
        self.cluster.jobs[JOB_ID] = builders.workload(builders.ended_pod(0, name=name))
        self.job(Status.SUCCEEDED, name)

    def vanishes(self, *names: str) -> None:
        """These pods were deleted; the record remembers them."""
        self.cluster.jobs.pop(JOB_ID, None)
        self.logs.gone |= set(names)
        self.job(Status.STOPPED, *names)

    def read(self, cursor: Cursor | None, lines: int = 10_000, pod: str | None = None) -> Page:
        """The page, its cursor having travelled as text."""
        if cursor is not None:
            cursor = decode(encode(cursor), JOB_ID)
        return self.reads.read(Ask(ADA, JOB_ID, pod), cursor, lines)

    def follow(self, cursor: Cursor | None, wait: float = 20) -> Page:
        return self.reads.follow(Ask(ADA, JOB_ID), cursor, 10_000, timedelta(seconds=wait))


START = Cursor(JOB_ID)


@pytest.fixture
def world() -> World:
    return World()


def texts(page: Page) -> Sequence[str]:
    return [line.text for line in page.lines]


def test_a_log_is_one_whether_its_pod_is_there_or_gone(world: World) -> None:
    world.runs(A)
    world.logs.print(A, *map(str, range(10)))
    page = world.read(START, 4)
    assert (texts(page), page.sources) == (["0", "1", "2", "3"], NODE)
    world.logs.ship()
    world.vanishes(A)
    rest = world.read(page.cursor)
    assert (texts(rest), rest.sources) == (["4", "5", "6", "7", "8", "9"], ARCHIVE)


@pytest.mark.parametrize("page_size", [1, 2, 3, 7])
@pytest.mark.parametrize("gone_after", range(5))
def test_every_line_comes_once_wherever_the_pod_is_deleted(
    world: World, page_size: int, gone_after: int
) -> None:
    world.runs(A)
    world.logs.print(A, *map(str, range(9)))
    world.logs.ship()
    told: list[str] = []
    cursor = START
    for number in range(20):
        if number == gone_after:
            world.vanishes(A)
        page = world.read(cursor, page_size)
        told += texts(page)
        cursor = page.cursor
    assert told == [str(number) for number in range(9)]


def test_what_the_node_rotated_away_comes_from_the_archive(world: World) -> None:
    world.runs(A)
    world.logs.print(A, *map(str, range(10)))
    world.logs.ship()
    world.logs.rotated[A] = 6
    page = world.read(START)
    assert (texts(page), page.sources) == ([str(number) for number in range(10)], NODE | ARCHIVE)
    assert texts(world.read(None, 7)) == ["3", "4", "5", "6", "7", "8", "9"]
    assert texts(world.read(None, 3)) == ["7", "8", "9"]


def test_what_was_rotated_away_but_is_not_shipped_yet_is_waited_for(world: World) -> None:
    world.runs(A)
    world.logs.print(A, *map(str, range(10)))
    page = world.read(START, 2)
    world.logs.shipped[A] = 4
    world.logs.rotated[A] = 6
    middle = world.read(page.cursor)
    assert texts(middle) == ["2", "3"] and not middle.finished
    assert texts(world.read(middle.cursor)) == []
    world.logs.ship()
    assert texts(world.read(middle.cursor)) == ["4", "5", "6", "7", "8", "9"]


def test_what_will_never_be_shipped_is_not_waited_for_for_ever(world: World) -> None:
    world.runs(A)
    world.logs.print(A, *map(str, range(10)))
    page = world.read(START, 2)
    world.logs.rotated[A] = 6
    world.now += CERTAIN + timedelta(seconds=1)
    assert texts(world.read(page.cursor)) == ["6", "7", "8", "9"]


def test_a_cluster_without_a_log_shipper_serves_its_own_logs(world: World) -> None:
    world.runs(A)
    world.logs.print(A, "one", "two")
    assert texts(world.read(START)) == texts(world.read(None)) == ["one", "two"]


def test_a_live_log_needs_the_archive_only_to_look_for_older_lines(world: World) -> None:
    world.runs(A)
    world.logs.print(A, "one", "two")
    cursor = world.read(START).cursor
    calls = world.logs.archive_calls
    for number in range(5):
        world.logs.print(A, str(number))
        page = world.follow(cursor)
        assert texts(page) == [str(number)]
        cursor = page.cursor
    assert world.logs.archive_calls == calls


def test_a_tail_of_a_live_log_does_without_an_archive_that_is_down(world: World) -> None:
    world.runs(A)
    world.logs.print(A, "one")
    world.logs.archive_error = RuntimeError("throttled")
    page = world.read(None)
    assert (texts(page), page.cut) == (["one"], True)


def test_a_log_that_may_have_a_gap_is_not_told_without_the_archive(world: World) -> None:
    world.runs(A)
    world.logs.print(A, *map(str, range(10)))
    cursor = world.read(START, 2).cursor
    world.logs.rotated[A] = 6
    world.logs.archive_error = RuntimeError("throttled")
    with pytest.raises(LogsUnavailable):
        world.read(cursor)


@pytest.mark.parametrize("down", ["the API", "the node"])
def test_a_cluster_that_is_down_is_read_around(world: World, down: str) -> None:
    world.runs(A)
    world.job(Status.RUNNING, A)
    world.logs.print(A, "one", "two", "three")
    cursor = world.read(START, 1).cursor
    world.logs.ship()
    if down == "the API":
        world.cluster.broken = ClusterUnavailable("refused")
    else:
        world.logs.node_error = ClusterUnavailable("kubelet timed out")
    page = world.read(cursor)
    assert (texts(page), page.sources, page.finished) == (["two", "three"], ARCHIVE, False)
    world.cluster.broken = world.logs.node_error = None
    world.logs.print(A, "four")
    assert texts(world.read(page.cursor)) == ["four"]


def test_whether_a_cluster_that_is_down_has_a_pod_is_not_known(world: World) -> None:
    with pytest.raises(PodNotFound):
        world.read(None, pod=A)
    world.cluster.broken = ClusterUnavailable("refused")
    with pytest.raises(ClusterUnavailable):
        world.read(None, pod=A)


def test_a_retry_goes_on_in_the_same_log(world: World) -> None:
    world.runs(A)
    world.logs.print(A, "first try")
    page = world.read(START)
    world.logs.ship()
    world.logs.gone.add(A)
    world.job(Status.RUNNING, A)
    world.runs(B)
    world.logs.print(B, "second try", at=later(60))
    assert texts(world.read(page.cursor)) == ["second try"]
    assert texts(world.read(START)) == texts(world.read(None)) == ["first try", "second try"]
    assert texts(world.read(None, pod=A)) == ["first try"]


def test_ranks_are_merged_by_time_and_each_line_names_its_pod(world: World) -> None:
    world.job(Status.RUNNING, nodes=3)
    world.runs(A, B, C)
    for second in range(4):
        for pod in (C, A, B):
            world.logs.print(pod, f"{pod[-1]}{second}", at=later(second * 3 + "abc".index(pod[-1])))
    expected = [f"{name}{second}" for second in range(4) for name in "abc"]
    page = world.read(START)
    assert texts(page) == expected and page.is_shared
    assert [line.pod[-1] for line in page.lines] == [text[0] for text in expected]
    assert texts(world.read(None, 5)) == expected[-5:]


@pytest.mark.parametrize("page_size", [1, 2, 5])
def test_pages_over_ranks_miss_and_repeat_nothing(world: World, page_size: int) -> None:
    world.job(Status.RUNNING, nodes=3)
    world.runs(A, B, C)
    for pod, count in ((A, 11), (B, 3), (C, 7)):
        world.logs.print(pod, *(f"{pod[-1]}{number}" for number in range(count)))
    told: list[str] = []
    cursor = START
    for _ in range(25):
        page = world.read(cursor, page_size)
        told += texts(page)
        cursor = page.cursor
    assert sorted(told) == sorted(
        f"{name}{number}" for name, count in (("a", 11), ("b", 3), ("c", 7)) for number in range(count)
    )
    for name in "abc":
        mine = [int(text[1:]) for text in told if text[0] == name]
        assert mine == sorted(mine)


def test_one_busy_rank_among_many_does_not_put_its_later_lines_before_theirs(world: World) -> None:
    world.job(Status.RUNNING, nodes=2)
    world.runs(A, B)
    world.logs.print(A, *(f"a{number}" for number in range(1000)))
    world.logs.print(B, "b", at=later(100))
    page = world.read(START, 10)
    assert texts(page) == [f"a{number}" for number in range(10)]


def test_lines_of_one_time_are_told_apart_by_their_number(world: World) -> None:
    world.runs(A)
    world.logs.print(A, "one", "two", "three")
    world.logs.printed[A] = [
        line._replace(time=world.logs.printed[A][0].time) for line in world.logs.printed[A]
    ]
    page = world.read(START, 2)
    assert texts(world.read(page.cursor)) == ["three"]


def test_a_finished_log_says_so_only_at_its_end(world: World) -> None:
    world.logs.print(A, "one", "two")
    world.ends(A)
    page = world.read(START, 1)
    assert not page.finished
    assert world.read(page.cursor).finished


def test_a_job_that_goes_on_is_not_finished_between_two_pods(world: World) -> None:
    world.ends(A)
    world.logs.print(A, "one")
    world.job(Status.RUNNING, A)
    assert not world.read(START).finished
    assert world.read(START, pod=A).finished


def test_a_log_whose_pod_is_gone_is_finished_once_its_last_lines_must_have_been_shipped(world: World) -> None:
    world.logs.print(A, "one", "two")
    world.logs.shipped[A] = 1
    world.vanishes(A)
    page = world.read(START)
    assert texts(page) == ["one"] and not page.finished
    world.logs.ship()
    page = world.read(page.cursor)
    assert texts(page) == ["two"] and not page.finished
    world.now += CERTAIN
    assert world.read(page.cursor).finished


def test_a_first_try_whose_pod_is_gone_is_done_with_while_the_second_runs(world: World) -> None:
    world.logs.print(A, "one")
    world.logs.ship()
    world.logs.gone.add(A)
    world.job(Status.RUNNING, A)
    first = PodRecord(name=A, phase="Failed", finished_at=NOW)
    world.store.jobs[JOB_ID] = replace(world.store.jobs[JOB_ID], pods=(first,))
    world.runs(B)
    world.now += CERTAIN
    cursor = world.read(START).cursor
    calls = world.logs.archive_calls
    world.logs.print(B, "two")
    assert texts(world.read(cursor)) == ["two"]
    assert world.logs.archive_calls == calls + 1, "only to see whether B's log began before"


def test_a_pod_that_was_read_to_its_end_is_not_read_again(world: World) -> None:
    world.logs.print(A, "one")
    world.logs.ship()
    world.vanishes(A)
    world.now += CERTAIN
    cursor = world.read(START).cursor
    calls = world.logs.archive_calls
    assert world.read(cursor).finished and world.logs.archive_calls == calls


@pytest.mark.parametrize("down", [False, True])
def test_a_pod_that_the_record_never_saw_is_found_by_what_was_shipped(world: World, down: bool) -> None:
    world.logs.print(A, "one")
    world.logs.ship()
    world.logs.gone.add(A)
    if down:
        world.cluster.broken = ClusterUnavailable("refused")
    else:
        world.job(Status.STOPPED)
    assert texts(world.read(None)) == texts(world.read(START)) == ["one"]


def test_a_job_without_pods_is_finished_with_the_job(world: World) -> None:
    assert not world.read(None).finished
    world.job(Status.STOPPED)
    assert not world.read(None).finished, "it may have had one too briefly for its record"
    world.now += CERTAIN
    assert world.read(None).finished


def test_what_a_pod_that_nobody_saw_said_is_told_although_it_is_shipped_after_the_job_ended(
    world: World,
) -> None:
    world.job(Status.STOPPED)
    world.logs.gone.add(A)
    page = world.read(START)
    world.logs.print(A, "one")
    world.logs.ship()
    assert not page.finished and texts(world.read(page.cursor)) == ["one"]


def test_an_end_that_was_read_for_others_a_moment_ago_is_not_the_end_for_good(world: World) -> None:
    world.logs.print(A, "one")
    world.logs.ship()
    world.vanishes(A)
    world.now += SHIPPING + AT_THE_END
    assert not world.read(START).finished
    world.now += timedelta(seconds=1)
    assert world.read(START).finished


def test_following_does_not_spin_on_news_that_cannot_be_read_yet(world: World) -> None:
    world.runs(A)
    world.logs.print(A, *map(str, range(10)), at=later(60))
    cursor = world.read(START, 2).cursor
    world.logs.rotated[A] = 6
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks > 100:
            world.logs.ship()

    world.logs.while_waiting = look
    assert not texts(world.follow(cursor, wait=20)) and looks <= 2 * 21


def test_following_wakes_for_a_pods_first_line_and_for_its_end(world: World) -> None:
    def starts() -> None:
        world.runs(A)
        world.job(Status.RUNNING, A)
        world.logs.print(A, "one")

    world.logs.while_waiting = starts
    page = world.follow(START)
    assert texts(page) == ["one"]
    world.logs.while_waiting = lambda: world.ends(A)
    page = world.follow(page.cursor)
    assert texts(page) == [] and page.finished


def test_a_job_that_has_not_begun_is_followed_by_its_record_and_costs_its_cluster_little(
    world: World,
) -> None:
    world.job(Status.PENDING)
    assert not world.follow(START, wait=20).lines
    assert world.cluster.calls["pods"] == 1 + 20 / LOOK_AGAIN.total_seconds()


def test_a_pod_that_its_record_is_not_told_of_is_found_by_a_look(world: World) -> None:
    def starts() -> None:
        world.runs(A)
        world.logs.print(A, "one")
        world.logs.while_waiting = lambda: None

    world.job(Status.PENDING)
    world.logs.while_waiting = starts
    assert texts(world.follow(START)) == ["one"]
    assert world.now == NOW + LOOK_AGAIN


def test_following_goes_on_over_the_deletion_of_the_pod(world: World) -> None:
    world.runs(A)
    world.logs.print(A, "one")
    cursor = world.read(START).cursor

    def deleted() -> None:
        world.logs.print(A, "two")
        world.logs.ship()
        world.vanishes(A)

    world.logs.while_waiting = deleted
    assert texts(world.follow(cursor)) == ["two"]


def test_following_ends_with_its_wait(world: World) -> None:
    page = world.follow(START, wait=7)
    assert not page.lines and world.now == NOW + timedelta(seconds=7)
