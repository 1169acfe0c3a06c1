"""What watches tell is applied at once, believed as far as it may be, and hides nothing it leaves out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

from chalicelib.domain.observed import Outcome
from chalicelib.errors import ClusterUnavailable
from chalicelib.services.backlog import AGAIN
from chalicelib.services.cluster_ports import Learn
from chalicelib.services.newsroom import MOST, Newsroom
from chalicelib.services.sync import HAND_OVER, LEASE
from infra.local.processes import wait_until
from tests.builders import ended_pod, later, running_pod
from tests.unit.services.conftest import ADA, Yard
from tests.unit.store.support import client_error

REPO = Path(__file__).parents[3]


def at_turn(number: int, act: Callable[[], object]) -> Callable[[], None]:
    """A hook that acts when it is called for that time, counted from 1."""
    turns = iter(range(1, 10_000))

    def hook() -> None:
        if next(turns) == number:
            act()

    return hook


def both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def hook() -> None:
        first()
        second()

    return hook


def leave() -> None:
    raise SystemExit


def finish(yard: Yard, job_id: str) -> None:
    yard.cluster.show(job_id, ended_pod(0), outcome=Outcome.COMPLETE, finished_at=later(9))


def test_a_change_is_applied_when_it_is_told_and_without_another_list(yard: Yard) -> None:
    job_id = yard.run()
    seen: list[tuple[str, datetime]] = []
    moments: list[datetime] = []

    def start() -> None:
        moments.append(yard.clock())
        yard.cluster.show(job_id, running_pod())

    def look_at_the_record() -> None:
        seen.append((yard.says(job_id)[0], yard.clock()))

    yard.cluster.before["watch"] = both(look_at_the_record, at_turn(3, start))
    yard.sync.run(yard.seconds(40))
    first_running = next(moment for status, moment in seen if status == "running")
    assert first_running == moments[0], "by the test's clock no time passed in between"
    assert yard.cluster.calls["workloads"] == 1


def test_a_job_that_is_submitted_while_a_run_watches_is_followed_to_its_end(yard: Yard) -> None:
    yard.run()
    late: list[str] = []

    def submit() -> None:
        late.append(yard.run())

    def act() -> None:
        finish(yard, late[0])

    yard.cluster.before["watch"] = both(at_turn(2, submit), at_turn(4, act))
    yard.sync.run(yard.seconds(60))
    assert yard.says(late[0]) == ("succeeded", "Completed")
    assert yard.cluster.calls["workloads"] == 1


def test_what_is_told_before_the_outbox_has_written_down_that_it_submitted_the_job_counts_when_it_has(
    yard: Yard,
) -> None:
    yard.run()
    early: list[str] = []
    saved: list[datetime] = []
    running: list[datetime] = []

    def create() -> None:
        early.append(yard.submit())
        yard.cluster.after["submit"] = leave
        with suppress(SystemExit):
            yard.outbox.deliver(early)
        yard.cluster.after.clear()
        yard.cluster.show(early[0], running_pod())

    def save() -> None:
        saved.append(yard.clock())
        yard.outbox.deliver(early)

    def look() -> None:
        if saved and yard.says(early[0])[0] == "running":
            running.append(yard.clock())

    yard.cluster.before["watch"] = both(look, both(at_turn(3, create), at_turn(6, save)))
    yard.sync.run(yard.seconds(40))
    assert running[0] - saved[0] <= 2 * AGAIN


def test_a_record_that_the_outbox_could_not_carry_out_is_tried_again_while_the_run_watches(
    yard: Yard,
) -> None:
    yard.run()

    def down() -> None:
        raise ClusterUnavailable("no answer")

    yard.cluster.before["watch"] = at_turn(2, yard.submit)
    yard.cluster.before["submit"] = at_turn(1, down)
    yard.sync.run(yard.seconds(60))
    assert len(yard.cluster.created) == 2
    assert yard.cluster.calls["workloads"] == 1


def test_jobs_that_just_run_are_not_read_again_and_again(yard: Yard) -> None:
    for job_id in [yard.run() for _ in range(5)]:
        yard.cluster.show(job_id, running_pod())
    reads: list[int] = []
    yard.cluster.before["watch"] = lambda: reads.append(len(yard.bench.spy.asked("batch_get_item")))
    yard.sync.run(yard.seconds(60))
    assert len(reads) > 20
    assert reads[-1] <= reads[0] + 1, "the look's own news, and then none"


def test_what_could_not_be_settled_when_it_was_told_is_by_the_next_sweep(yard: Yard) -> None:
    job_id = yard.run()
    yard.cluster.show(job_id, running_pod())

    def end_unheard() -> None:
        finish(yard, job_id)
        yard.bench.spy.fail("batch_get_item", client_error("InternalServerError"))

    yard.cluster.before["watch"] = at_turn(10, end_unheard)
    yard.sync.run(yard.seconds(40))
    assert yard.bench.spy.failures == []
    assert yard.says(job_id) == ("succeeded", "Completed")


def test_a_cluster_that_does_not_answer_is_waited_for_once_and_then_when_its_watch_gets_through(
    yard: Yard,
) -> None:
    """Each wait keeps the other clusters' news waiting."""
    job_id = yard.submit()

    def down() -> None:
        raise ClusterUnavailable("no answer")

    def come_back() -> None:
        tries.append(yard.cluster.calls["submit"])
        yard.cluster.before.clear()

    tries: list[int] = []
    yard.cluster.before = {"submit": down, "watch": both(at_turn(12, come_back), down)}
    yard.sync.run(yard.seconds(60))
    assert tries == [1], "in as many sweeps as there were until then"
    assert yard.says(job_id) == ("pending", "Submitted")


def test_a_job_that_is_deleted_behind_our_back_fails_at_once(yard: Yard) -> None:
    job_id = yard.run()
    yard.cluster.before["watch"] = at_turn(2, lambda: yard.cluster.jobs.pop(job_id))
    yard.sync.run(yard.seconds(60))
    assert yard.says(job_id) == ("failed", "JobDeleted")


def test_a_job_that_the_watch_does_not_show_yet_is_not_taken_for_a_deleted_one(yard: Yard) -> None:
    yard.run()

    def submit_unseen() -> None:
        yard.cluster.silent.add(yard.run())

    yard.cluster.before["watch"] = at_turn(2, submit_unseen)
    yard.sync.run(yard.seconds(60))
    assert yard.says(yard.cluster.created[1]) == ("pending", "Submitted")


def test_a_deletion_that_the_watch_missed_is_found_by_the_next_run(yard: Yard) -> None:
    job_id = yard.run()

    def lose() -> None:
        yard.cluster.silent.add(job_id)
        del yard.cluster.jobs[job_id]

    yard.cluster.before["watch"] = at_turn(2, lose)
    yard.sync.run(yard.seconds(60))
    assert yard.says(job_id)[0] == "pending"
    yard.another_sync("the next").run(yard.seconds(60))
    assert yard.says(job_id) == ("failed", "JobDeleted")


def test_an_end_that_is_told_before_its_pods_waits_for_what_they_say(yard: Yard) -> None:
    """The Job's watch is ahead of the pods': what the pod made must not be lost with the final state."""
    job_id = yard.run()
    yard.cluster.show(job_id, running_pod())
    said = ended_pod(0, termination_message='{"model_id": 456}')

    def live() -> None:
        yard.cluster.show(job_id, said, outcome=Outcome.COMPLETE, finished_at=later(9))

    yard.cluster.before["workload"] = live
    ahead = partial(yard.cluster.show, job_id, running_pod(), outcome=Outcome.COMPLETE, finished_at=later(9))
    yard.cluster.before["watch"] = at_turn(2, ahead)
    yard.sync.run(yard.seconds(60))
    job = yard.jobs.get(ADA, job_id)
    assert (job.status, job.model_id, job.exit_code) == ("succeeded", 456, 0)


def test_a_stray_that_shows_while_a_run_watches_is_deleted(yard: Yard) -> None:
    yard.run()

    def create_a_stray() -> None:
        stray = yard.run()
        yard.bench.client.delete_item(
            TableName=yard.bench.table, Key={"pk": {"S": f"JOB#{stray}"}, "sk": {"S": "JOB"}}
        )

    yard.cluster.before["watch"] = at_turn(2, create_a_stray)
    yard.sync.run(yard.seconds(40))
    assert yard.cluster.jobs[yard.cluster.created[1]].deleting


def test_a_successor_takes_over_without_a_gap(yard: Yard) -> None:
    """A new run begins every minute, with the time that the function really has. Nobody's absence is longer
    than a question for the lease takes."""
    config = json.loads((REPO / ".chalice/config.json").read_text())
    lasts = timedelta(seconds=config["stages"]["dev"]["lambda_functions"]["sync"]["lambda_timeout"])
    yard.run()
    minutes = [yard.clock() + timedelta(minutes=number) for number in range(3)]
    held: list[tuple[datetime, datetime]] = []
    for minute in minutes:
        # The clock stands where the one before gave up: what this one did until then is to wait.
        yard.clock.now = minute if not held else max(minute, held[-1][1])
        began: list[datetime] = []
        yard.cluster.before["workloads"] = partial(_note, began, yard.clock)
        yard.another_sync(str(minute)).run(partial(_left, minute + lasts, yard.clock))
        held.append((began[0], yard.clock()))
    gaps = [late - early for (_, early), (late, _) in pairwise(held)]
    assert max(gaps) <= HAND_OVER


def test_a_waiting_successor_asks_often_enough(yard: Yard) -> None:
    yard.run()
    yard.store.acquire_lease(LEASE, "before", yard.clock(), timedelta(seconds=20))
    released: list[datetime] = []
    sleep = yard.clock.move
    successor = yard.another_sync("after")

    def move(seconds: float) -> None:
        sleep(seconds)
        if not released and (yard.clock() - start).total_seconds() >= 7.1:
            yard.store.release_lease(LEASE, "before")
            released.append(yard.clock())

    start = yard.clock()
    object.__setattr__(successor._pace, "sleep", move)
    began: list[datetime] = []
    yard.cluster.before["workloads"] = lambda: began.append(yard.clock())
    successor.run(yard.seconds(60))
    assert began[0] - released[0] <= HAND_OVER


# ---- the threads


def test_several_watches_are_followed_side_by_side_and_trouble_with_one_is_not_the_others() -> None:
    tries: list[float] = []

    def fine(seconds: float) -> Iterator[Learn]:
        del seconds
        yield lambda: {"fine"}

    def broken(seconds: float) -> Iterator[Learn]:
        tries.append(seconds)
        raise ClusterUnavailable("no route")
        yield

    news = Newsroom([broken, fine])
    try:
        learned = {job_id for learn in news.wait(10) for job_id in learn()}
        assert wait_until(lambda: len(tries) > 1, 10), "it is tried again"
    finally:
        news.close()
        news.join()
    assert learned == {"fine"}


def test_news_that_nobody_takes_fill_no_memory_and_are_told_later_and_in_order() -> None:
    everything = MOST + 50
    told: list[int] = []

    def busy(seconds: float) -> Iterator[Learn]:
        del seconds
        while len(told) < everything:
            told.append(len(told))
            yield partial(_seen, told[-1])

    news = Newsroom([busy])
    taken: list[str] = []
    try:
        assert wait_until(lambda: len(told) > MOST, 10)
        while len(taken) < everything:
            before = len(told)
            portion = [job_id for learn in news.wait(10) for job_id in learn()]
            assert 0 < len(portion) <= MOST
            assert before <= len(taken) + MOST + 1, "one more is in hand than wait"
            taken += portion
    finally:
        news.close()
        news.join()
    assert taken == [str(number) for number in range(everything)]


def test_a_newsroom_closes_while_its_news_wait_for_room() -> None:
    told: list[int] = []

    def endless(seconds: float) -> Iterator[Learn]:
        del seconds
        while True:
            told.append(len(told))
            yield partial(_seen, told[-1])

    news = Newsroom([endless])
    assert wait_until(lambda: len(told) > MOST, 10)
    news.close()
    news.join()
    assert len(told) == MOST + 1


def _seen(number: int) -> set[str]:
    return {str(number)}


def _note(moments: list[datetime], clock: Callable[[], datetime]) -> None:
    moments.append(clock())


def _left(end: datetime, clock: Callable[[], datetime]) -> float:
    return (end - clock()).total_seconds()


def test_a_job_that_no_watch_has_told_of_yet_is_asked_for_at_the_second_sweep(yard: Yard) -> None:
    yard.sync.look()
    yard.run()
    yard.sync.sweep()
    assert yard.cluster.calls["workload"] == 0, "it is about to be told"
    yard.sync.sweep()
    assert yard.cluster.calls["workload"] == 1


def test_what_is_told_of_many_jobs_at_once_is_written_in_one_transaction(yard: Yard) -> None:
    jobs = [yard.run() for _ in range(5)]
    writes: list[int] = []

    def tell_of_all() -> None:
        writes.append(len(yard.bench.spy.asked("transact_write_items")))
        for job_id in jobs:
            yard.cluster.show(job_id, running_pod())

    yard.cluster.before["watch"] = at_turn(2, tell_of_all)
    yard.sync.run(yard.seconds(20))
    assert {yard.says(job_id) for job_id in jobs} == {("running", "Running")}
    assert len(yard.bench.spy.asked("transact_write_items")) == writes[0] + 1
