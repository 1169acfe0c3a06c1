"""What clusters tell is kept once and lost never, whoever dies and whenever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import accumulate
from typing import Any

import pytest

from chalicelib.domain.events import Event
from chalicelib.domain.observed import Outcome
from chalicelib.domain.pools import Pool
from chalicelib.errors import ClusterUnavailable
from chalicelib.services.cluster_ports import Happened
from chalicelib.services.feed import GATHER_SECONDS, PLENTY, Feed
from tests.builders import NAMESPACE, POOL, ended_pod, later, running_pod
from tests.fake_cluster import FakeCluster
from tests.unit.services.conftest import ADA, Yard
from tests.unit.store.support import START, client_error

STEADY: Callable[[], bool] = lambda: True  # noqa: E731


def told(job_id: str, number: int = 1, **changes: Any) -> Event:
    """The event number so-and-so of a job's pod."""
    moment = START + timedelta(seconds=number)
    values: dict[str, Any] = {
        "type": "Normal",
        "reason": f"Reason{number}",
        "message": "",
        "timestamp": moment,
        "first_timestamp": moment,
        "count": 1,
        "object": f"Pod/{job_id}-abcde",
        "key": f"{job_id}-abcde.{number}",
    }
    return Event(**(values | changes))


def tell(yard: Yard, *events: Event, namespace: str = NAMESPACE) -> None:
    yard.cluster.happened_events += [(namespace, event) for event in events]


def feed(yard: Yard) -> Feed:
    """That of a process that has just begun."""
    return Feed(yard.store, {POOL.id: POOL}, yard.cluster, yard.clock, yard.clock.move)


def kept(yard: Yard, job_id: str) -> list[str]:
    """The reasons of what the cluster told."""
    events = yard.store.events(job_id, 1000).items
    return [event.reason for event in events if event.reason.startswith("Reason")]


def finish(yard: Yard, job_id: str) -> None:
    yard.cluster.show(job_id, ended_pod(0), outcome=Outcome.COMPLETE, finished_at=later(9))


def test_what_happens_during_a_run_is_kept_in_the_order_in_which_it_happened(yard: Yard) -> None:
    job_id = yard.run()
    tell(yard, told(job_id, 2), told(job_id, 1))
    turns = iter(range(100))

    def one_more() -> None:
        if next(turns) == 1:
            tell(yard, told(job_id, 3))

    yard.cluster.before["watch"] = one_more
    yard.sync.run(yard.seconds(20))
    assert kept(yard, job_id) == ["Reason1", "Reason2", "Reason3"]
    assert yard.cluster.calls["list"] == 1, "it is listed once and then watched"


def test_what_happens_between_two_runs_is_caught_up_with_and_not_listed(yard: Yard) -> None:
    job_id = yard.run()
    yard.sync.run(yard.seconds(10))
    tell(yard, told(job_id, 1))
    yard.another_sync("another process").run(yard.seconds(10))
    assert kept(yard, job_id) == ["Reason1"]
    assert yard.cluster.calls["list"] == 1


def test_a_position_that_the_cluster_has_forgotten_is_made_good_by_a_list(yard: Yard) -> None:
    job_id = yard.run()
    tell(yard, told(job_id, 1))
    feed(yard).follow(2, STEADY)
    tell(yard, *[told(job_id, number) for number in (2, 3, 4)])
    yard.cluster.forgotten = 3
    feed(yard).follow(2, STEADY)
    assert kept(yard, job_id) == ["Reason1", "Reason2", "Reason3", "Reason4"]
    assert yard.cluster.calls["list"] == 2


def test_the_last_events_of_the_last_job_are_not_missed(yard: Yard) -> None:
    job_id = yard.run()
    finish(yard, job_id)
    waits = iter(range(100))

    def late_news() -> None:
        if next(waits) == 2:
            tell(yard, told(job_id, 1))

    yard.cluster.before["happened"] = late_news
    assert yard.sync.run(yard.seconds(60)) == 1
    assert yard.says(job_id) == ("succeeded", "Completed")
    assert kept(yard, job_id) == ["Reason1"]


def test_a_job_that_comes_while_a_run_lingers_is_looked_at(yard: Yard) -> None:
    finish(yard, yard.run())
    late: list[str] = []

    def submit() -> None:
        if not late and yard.says(yard.cluster.created[0])[0] == "succeeded":
            late.append(yard.run())

    yard.cluster.before["happened"] = submit
    yard.sync.run(yard.seconds(30))
    assert yard.store.lease_is_free("sync", yard.clock())
    yard.cluster.before.clear()
    assert yard.says(late[0]) == ("pending", "Submitted")
    assert yard.cluster.calls["watch"] > 8, "the run went on with it"


@pytest.mark.parametrize(
    "event",
    [
        pytest.param({"object": "Pod/job-01kfwq4v80zzzzzzzzzzzzzzzz-abcde"}, id="of a job without a record"),
        pytest.param({"object": "Pod/web-abcde"}, id="of somebody else's pod"),
        pytest.param({"object": "Job/job-x"}, id="of somebody else's Job"),
        pytest.param({"object": "Node/{job}"}, id="of something else by our name"),
        pytest.param({"object": "Pod/{job}x"}, id="of a longer name"),
        pytest.param({"object": "Pod/{job}-" + "x" * 400}, id="of a name that cannot be"),
        pytest.param({"namespace": "trainyard-globex"}, id="in another tenant's namespace"),
    ],
)
def test_what_is_not_of_our_job_in_its_own_place_is_not_kept(yard: Yard, event: dict[str, str]) -> None:
    job_id = yard.run()
    changes = {name: text.format(job=job_id) for name, text in event.items()}
    namespace = changes.pop("namespace", NAMESPACE)
    before = len(scan(yard))
    tell(yard, told(job_id, 1, **changes), namespace=namespace)
    feed(yard).follow(2, STEADY)
    items = [item for item in scan(yard) if not item["pk"]["S"].startswith("FEED#")]
    assert len(items) == before


def test_the_kubernetes_job_and_its_pods_count_by_their_names(yard: Yard) -> None:
    job_id = yard.run()
    tell(yard, told(job_id, 1, object=f"Job/{job_id}"), told(job_id, 2, object=f"Pod/{job_id}-0-x7k2p"))
    feed(yard).follow(2, STEADY)
    assert kept(yard, job_id) == ["Reason1", "Reason2"]


def test_a_job_that_was_deleted_gets_no_more(yard: Yard) -> None:
    job_id = yard.run()
    yard.jobs.delete(ADA, job_id)
    tell(yard, told(job_id, 1))
    feed(yard).follow(2, STEADY)
    assert kept(yard, job_id) == []


class Bursts(FakeCluster):
    """Tells so many Events of a job at a time."""

    def __init__(self, job_id: str, sizes: Sequence[int]) -> None:
        super().__init__()
        self.job_id, self.sizes = job_id, sizes

    def happened(self, *_: Any) -> Iterator[Happened]:
        for size, begin in zip(self.sizes, accumulate(self.sizes, initial=1), strict=False):
            events = [told(self.job_id, number) for number in range(begin, begin + size)]
            yield Happened([(NAMESPACE, event) for event in events], str(begin))


@pytest.mark.parametrize(
    ("sizes", "rests"),
    [
        pytest.param([5, 5, 5, 5], [], id="a few jobs begin"),
        pytest.param([5, 5, 5, 6], [GATHER_SECONDS], id="one more within the second"),
        pytest.param([21, 1, 1, 1], [GATHER_SECONDS] * 2, id="many, and then calm again"),
        pytest.param([PLENTY, PLENTY], [], id="more than enough at a time"),
    ],
)
def test_many_events_are_left_to_gather_and_few_are_kept_at_once(
    yard: Yard, sizes: list[int], rests: list[float]
) -> None:
    job_id = yard.run()
    rested: list[float] = []

    def sleep(seconds: float) -> None:
        rested.append(seconds)
        yard.clock.move(seconds)

    Feed(yard.store, {POOL.id: POOL}, lambda _: Bursts(job_id, sizes), yard.clock, sleep).follow(2, STEADY)
    assert rested == rests
    assert len(kept(yard, job_id)) == sum(sizes)


# ---- who dies, and when


def test_dying_before_an_event_is_written_repeats_it(yard: Yard) -> None:
    job_id = yard.run()
    tell(yard, told(job_id, 1))
    yard.bench.spy.fail("put_item", client_error("InternalServerError"))
    feed(yard).follow(2, STEADY)
    assert kept(yard, job_id) == []
    assert yard.store.feed_position("default#*") is None
    feed(yard).follow(2, STEADY)
    assert kept(yard, job_id) == ["Reason1"]


def test_dying_between_an_event_and_its_position_keeps_it_once(yard: Yard) -> None:
    job_id = yard.run()
    tell(yard, told(job_id, 1))
    put = yard.bench.client.put_item

    class Dies:
        """The client of a process that dies when it is about to note how far it came."""

        def __getattr__(self, operation: str) -> Any:
            return getattr(yard.bench.client, operation)

        def put_item(self, **request: Any) -> Any:
            if request["Item"]["pk"]["S"].startswith("FEED#"):
                raise SystemExit("killed")
            return put(**request)

    with pytest.raises(SystemExit):
        Feed(yard.bench.another(Dies()), {POOL.id: POOL}, yard.cluster, yard.clock, yard.clock.move).follow(
            2, STEADY
        )
    assert yard.store.feed_position("default#*") is None
    tell(yard, told(job_id, 2))
    feed(yard).follow(2, STEADY)
    assert kept(yard, job_id) == ["Reason1", "Reason2"]
    assert [event.count for event in yard.store.events(job_id, 9).items if event.reason == "Reason1"] == [1]


def test_a_stream_that_breaks_off_is_taken_up_where_it_did(yard: Yard) -> None:
    job_id = yard.run()
    tell(yard, told(job_id, 1), told(job_id, 2))
    reader = feed(yard)

    class Breaks(FakeCluster):
        def happened(self, *asked: Any) -> Iterator[Any]:
            yield from list(yard.cluster.happened(*asked))[:2]
            raise ClusterUnavailable("connection reset")

    Feed(yard.store, {POOL.id: POOL}, Breaks(), yard.clock, yard.clock.move).follow(2, STEADY)
    assert yard.store.feed_position("default#*") == "2"
    tell(yard, told(job_id, 3))
    reader.follow(2, STEADY)
    assert kept(yard, job_id) == ["Reason1", "Reason2", "Reason3"]
    assert yard.cluster.calls["list"] == 1


def test_a_long_list_is_left_when_the_lease_is_lost_and_read_by_who_has_it(yard: Yard) -> None:
    job_id = yard.run()
    tell(yard, *[told(job_id, number) for number in range(1, 8)])
    feed(yard).follow(2, lambda: False)
    assert kept(yard, job_id) == ["Reason1", "Reason2"]
    assert yard.store.feed_position("default#*") is None
    feed(yard).follow(2, STEADY)
    assert len(kept(yard, job_id)) == 7


def test_two_readers_at_once_keep_each_event_once(yard: Yard) -> None:
    job_id = yard.run()
    one, other = feed(yard), feed(yard)
    for number in (1, 2, 3):
        tell(yard, told(job_id, number))
        one.follow(2, STEADY)
        other.follow(2, STEADY)
    assert kept(yard, job_id) == ["Reason1", "Reason2", "Reason3"]


def test_an_event_that_goes_on_is_counted_up(yard: Yard) -> None:
    job_id = yard.run()
    first = told(job_id, 1)
    tell(yard, first, replace(first, count=5, timestamp=first.timestamp + timedelta(minutes=1)))
    feed(yard).follow(2, STEADY)
    (event,) = [event for event in yard.store.events(job_id, 9).items if event.reason == "Reason1"]
    assert (event.count, event.timestamp) == (5, first.timestamp + timedelta(minutes=1))


# ---- what a run does meanwhile


def test_a_cluster_that_does_not_answer_is_asked_once_a_pause_and_not_all_the_time(yard: Yard) -> None:
    yard.run()

    def down() -> None:
        raise ClusterUnavailable("connection refused")

    yard.cluster.before["happened"] = down
    passes = yard.sync.run(yard.seconds(20))
    assert passes == yard.cluster.calls["happened"] + 1
    assert 5 <= passes <= 8


def test_the_lease_is_renewed_in_a_long_pause(yard: Yard) -> None:
    yard.run()
    other = yard.another_sync("other")
    led: list[int] = []

    def try_to_lead() -> None:
        yard.clock.move(4)
        led.append(other.run(yard.seconds(1), patient=False))

    yard.cluster.before["happened"] = try_to_lead
    yard.another_sync("me", interval=20).run(yard.seconds(70))
    assert len(led) >= 8 and not any(led)


def test_one_cluster_that_does_not_answer_holds_up_no_other(yard: Yard) -> None:
    job_id = yard.run()
    tell(yard, told(job_id, 1))
    answered = threading.Event()

    class Slow(FakeCluster):
        """Answers, with an error, once the other one's event is kept."""

        def happened(self, *_: Any) -> Iterator[Any]:
            assert answered.wait(10)
            raise ClusterUnavailable("no route")
            yield

    far = Pool(id="far", cluster="far", namespace="shared")
    slow = Slow()

    class Watched(FakeCluster):
        def happened(self, *asked: Any) -> Iterator[Any]:
            yield from yard.cluster.happened(*asked)
            answered.set()

    near = Watched()
    pools = {POOL.id: POOL, far.id: far}
    both = Feed(yard.store, pools, lambda pool: slow if pool == far else near, yard.clock, yard.clock.move)
    both.follow(2, STEADY)
    assert kept(yard, job_id) == ["Reason1"]
    assert yard.store.feed_position("far#shared") is None


def test_pools_that_do_not_span_tenants_are_listened_to_in_their_namespaces_only(yard: Yard) -> None:
    asked: list[tuple[str, str | None]] = []

    class Noting(FakeCluster):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def happened(self, namespace: str | None, *_: Any) -> Iterator[Any]:
            asked.append((self.name, namespace))
            yield from ()

    clusters = {"a": Noting("a"), "b": Noting("b")}
    pools = [
        Pool(id="1", cluster="a", namespace="x"),
        Pool(id="2", cluster="a", namespace="x"),
        Pool(id="3", cluster="a", namespace="y"),
        Pool(id="4", cluster="b", namespace="x"),
        Pool(id="5", cluster="b"),
    ]
    by_id = {pool.id: pool for pool in pools}
    all_of_them = Feed(yard.store, by_id, lambda pool: clusters[pool.cluster], yard.clock, yard.clock.move)
    all_of_them.follow(1, STEADY)
    assert sorted(asked, key=str) == [("a", "x"), ("a", "y"), ("b", None)]


def scan(yard: Yard) -> list[Any]:
    items: list[Any] = yard.bench.client.scan(TableName=yard.bench.table)["Items"]
    return items


def test_a_running_jobs_events_cost_no_pass_that_is_idle(yard: Yard) -> None:
    yard.run()
    yard.cluster.show(yard.cluster.created[0], running_pod())
    yard.sync.run(yard.seconds(10))
    written = [
        action["Put"]["Item"]["pk"]["S"]
        for call in yard.bench.spy.asked("transact_write_items")
        for action in call.request["TransactItems"]
        if "Put" in action
    ]
    positions = [key for key in written if key.startswith("FEED#")]
    assert len(positions) == 1, "a position that did not move is not written"
