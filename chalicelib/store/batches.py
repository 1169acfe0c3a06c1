"""Which records go into one transaction: DynamoDB takes 100 actions and 4 MB."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from chalicelib.domain.job import Job
from chalicelib.services.ports import CREATED_TOGETHER, Idempotency
from chalicelib.store.items import item_bytes, to_item

# A new job is three actions: record, key, event; a file's jobs count in two scopes together, and each in one
# more at most: 98 for 24. A save is two, record and event; each may count in two scopes of its own, and all
# in one; the lease is checked by one: 98 again.
MOST_JOBS = CREATED_TOGETHER
MOST_BYTES = 3 * 1024**2  # of records

T = TypeVar("T")


def batches(wanted: Sequence[tuple[Job, Idempotency]]) -> Iterator[Sequence[tuple[Job, Idempotency]]]:
    """In order. No key is twice in one: a transaction takes no item twice."""
    return _batches(wanted, lambda one: one[0], lambda one: one[1].key)


def batches_of_saves(saves: Sequence[tuple[Job, Job]]) -> Iterator[Sequence[tuple[Job, Job]]]:
    """In order. No record is twice in one."""
    return _batches(saves, lambda one: one[0], lambda one: one[0].id)


def _batches(
    each: Sequence[T], job_of: Callable[[T], Job], key_of: Callable[[T], str]
) -> Iterator[Sequence[T]]:
    batch: list[T] = []
    keys: set[str] = set()
    size = 0
    for one in each:
        grown = item_bytes(to_item(job_of(one)))
        if batch and (len(batch) == MOST_JOBS or size + grown > MOST_BYTES or key_of(one) in keys):
            yield batch
            batch, keys, size = [], set(), 0
        batch.append(one)
        keys.add(key_of(one))
        size += grown
    if batch:
        yield batch
