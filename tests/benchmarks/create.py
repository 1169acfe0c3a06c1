"""Creates by the API beside the same transactions, sent raw to the same DynamoDB."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chalicelib.bootstrap import new_job_id, utc_now
from chalicelib.domain.manifest import ManifestSettings
from chalicelib.services.caller import Caller, Role
from chalicelib.services.submission import JobRequest, Stamps, Submission
from chalicelib.settings import load
from chalicelib.store.keys import job_key
from tests.benchmarks.member import HOLLOW, Member, member
from tests.benchmarks.recorder import Recorder, recorded_store
from tests.benchmarks.results import Result
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.timing import in_turns

CLIENTS = 8
GOAL_RATIO = 2.0
GOAL_PER_SECOND = 200
GPUS = 64  # more than there are: no pod runs beside the measurement


def one_client(sizes: Sizes) -> Sequence[Result]:
    """On one kept-alive connection through gateway, authorizer and function."""
    with member() as one:
        transactions = raw_creates(one, GPUS)
        ids: list[str] = []

        def create() -> None:
            ids.append(one.create(clientToken=f"{time.time_ns()}", resources={"gpu": GPUS}))

        def detail() -> None:
            one.call("GET", f"/api/jobs/{ids[-1]}")

        def raw_detail() -> None:
            one.dynamodb.get_item(TableName=one.table, Key=job_key(ids[-1]), ConsistentRead=True)

        # Made ready before the clock runs.
        ready = iter([next(transactions) for _ in range(sizes.requests + 10)])
        creates, raws, details, gets = in_turns(
            [create, lambda: one.dynamodb.transact_write_items(**next(ready)), detail, raw_detail],
            sizes.requests,
        )
    ratio = creates.p50 / raws.p50
    return [
        Result(
            what="create, one client, p50",
            figure=str(creates),
            raw=f"{raws}, one raw transaction of the same items",
            ratio=ratio,
            goal=f"≤ {GOAL_RATIO:g}×",
            met=ratio <= GOAL_RATIO,
            notes=[f"p99 {creates.p99 * 1000:.0f} ms, raw {raws.p99 * 1000:.0f} ms"],
        ),
        Result(
            what="detail, one client, p50",
            figure=str(details),
            raw=f"{gets}, one raw GetItem",
            ratio=details.p50 / gets.p50,
        ),
    ]


def eight_clients(sizes: Sizes) -> Sequence[Result]:
    """Each side on a stack of its own: what was created is still being submitted at the end."""
    with member(HOLLOW) as one:
        api, errors = _at_once(lambda n: one.create(clientToken=f"{n}"), sizes.created)
        busy = ", ".join(
            f"{name} {one.cpu(name):.1f}" for name in ("gateway", "ministack", "pump", "kubernetes")
        )
    with member(HOLLOW) as one:
        ready = list(itertools.islice(raw_creates(one), sizes.created))
        raw, _ = _at_once(lambda n: one.dynamodb.transact_write_items(**ready[n]), sizes.created)
    return [
        Result(
            what=f"created per second, {CLIENTS} clients",
            figure=f"{api:.0f}, {errors} errors",
            raw=f"{raw:.0f}, raw transactions of {CLIENTS} threads",
            ratio=api / raw,
            goal=f"≥ {GOAL_PER_SECOND}, no errors",
            met=api >= GOAL_PER_SECOND and not errors,
            notes=[f"{sizes.created} jobs; seconds of CPU by the last answer, start included: {busy}"],
        )
    ]


def raw_creates(one: Member, gpu: int = 0) -> Iterator[Mapping[str, Any]]:
    """The parameters of one TransactWriteItems after the other, as the store sends them for a create."""
    settings = load({})
    caller = Caller(one.tenant, "bench", frozenset({Role.MEMBER}))
    own = ManifestSettings(instance="bench", finished_job_ttl_seconds=60, stop_grace_seconds=1)
    request = JobRequest(name="bench", image=one.image, command=["python3", "-c", "pass"], gpu=gpu)
    while True:
        recorder = Recorder()
        store = recorded_store(recorder, one.table)
        submission = Submission(store, settings.pools, settings.images, own, Stamps(utc_now, new_job_id))
        submission.submit(caller, request, f"{time.time_ns()}")
        yield recorder.asked[-1][1]


def _at_once(create: Callable[[int], object], number: int) -> tuple[float, int]:
    """How many a second, and how many failed."""

    def whether_failed(n: int) -> bool:
        try:
            create(n)
        except Exception:  # noqa: BLE001 (whatever it is, it is counted)
            return True
        return False

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda _: time.sleep(0.05), range(CLIENTS)))  # all threads are there
        began = time.perf_counter()
        failed = sum(pool.map(whether_failed, range(number)))
        return number / (time.perf_counter() - began), failed
