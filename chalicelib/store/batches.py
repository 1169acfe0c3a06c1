"""Which new records go into one transaction: DynamoDB takes 100 actions and 4 MB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chalicelib.domain.job import Job
from chalicelib.services.ports import CREATED_TOGETHER, Idempotency
from chalicelib.store.items import item_bytes, to_item

# A job is three actions: record, key, event. Of scopes to count, all have two, and each at most one more.
MOST_JOBS = CREATED_TOGETHER
MOST_BYTES = 3 * 1024**2  # of records


def batches(wanted: Sequence[tuple[Job, Idempotency]]) -> Iterator[Sequence[tuple[Job, Idempotency]]]:
    """In order. No key is twice in one: a transaction takes no item twice."""
    batch: list[tuple[Job, Idempotency]] = []
    keys: set[str] = set()
    size = 0
    for job, key in wanted:
        grown = item_bytes(to_item(job))
        if batch and (len(batch) == MOST_JOBS or size + grown > MOST_BYTES or key.key in keys):
            yield batch
            batch, keys, size = [], set(), 0
        batch.append((job, key))
        keys.add(key.key)
        size += grown
    if batch:
        yield batch
