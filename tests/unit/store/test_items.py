"""Jobs as items: what is lost on the way there and back, and what other releases may do to it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.job import Job, JobSpec, Resources
from chalicelib.domain.pods import MOST_PODS, PodRecord
from chalicelib.domain.states import Status
from chalicelib.errors import StoreUnavailable
from chalicelib.store.items import MAX_ITEM_BYTES, from_item, item_bytes, to_item, to_time
from tests.unit.store.support import START, a_job, deleted

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(-(2**63), 2**63)
times = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))
documents = st.recursive(
    st.none()
    | st.booleans()
    | numbers
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
specs = st.builds(
    JobSpec,
    name=texts,
    image=texts,
    command=st.lists(texts, max_size=3).map(tuple),
    resources=st.builds(Resources, cpu=numbers, memory=numbers, gpu=numbers),
    pool=texts,
    queue=st.none() | texts,
    description=st.none() | texts,
    framework=st.none() | texts,
    script_path=st.none() | texts,
    workspace_id=st.none() | numbers,
    dataset_id=st.none() | numbers,
    priority=numbers,
    env=st.dictionaries(texts, texts, max_size=3),
    nodes=numbers,
    max_retries=numbers,
    max_runtime_seconds=st.none() | numbers,
    labels=st.dictionaries(texts, texts, max_size=3),
    bundle=st.none() | texts,
)
pods = st.builds(
    PodRecord,
    name=texts,
    rank=numbers,
    phase=texts,
    created_at=st.none() | times,
    node=st.none() | texts,
    started_at=st.none() | times,
    finished_at=st.none() | times,
    restarts=numbers,
    exit_code=st.none() | numbers,
    reason=st.none() | st.text(max_size=4),
)
jobs = st.builds(
    Job,
    id=texts,
    tenant=texts,
    spec=specs,
    status=st.sampled_from(Status),
    reason=texts,
    message=texts,
    version=numbers,
    created_at=times,
    updated_at=times,
    created_by=texts,
    source=st.none() | texts,
    trace=st.none() | texts,
    submitted_at=st.none() | times,
    started_at=st.none() | times,
    finished_at=st.none() | times,
    deleted_at=st.none() | times,
    pods=st.lists(pods, max_size=3).map(tuple),
    exit_code=st.none() | numbers,
    model_id=st.none() | numbers,
    metrics=st.none() | st.dictionaries(texts, documents, max_size=3),
)


@settings(max_examples=50, deadline=None)
@given(job=jobs)
def test_an_item_gives_back_the_job_that_it_was_made_of(job: Job) -> None:
    assert from_item(to_item(job)) == job


def test_times_have_one_width_and_one_zone() -> None:
    east = timezone(timedelta(hours=8))
    assert to_time(datetime(2026, 3, 1, 20, tzinfo=east)) == "2026-03-01T12:00:00.000000+00:00"


def test_a_time_without_a_zone_is_a_bug() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        to_time(datetime(2026, 3, 1))


def test_attributes_of_a_newer_release_are_ignored() -> None:
    item = {**to_item(a_job()), "added_later": {"M": {}}}
    item["spec"] = {"S": json.dumps(json.loads(item["spec"]["S"]) | {"added_later": 1})}
    assert from_item(item) == a_job()


def test_spec_fields_that_an_older_release_did_not_write_have_their_defaults() -> None:
    item = dict(to_item(a_job()))
    document = json.loads(item["spec"]["S"])
    kept = {name: document[name] for name in ("image", "command", "memory")}
    assert from_item(item | {"spec": {"S": json.dumps(kept)}}) == a_job()


def test_pods_that_an_earlier_release_wrote_are_names() -> None:
    item = {**to_item(a_job()), "pods": {"S": '["p-0","p-1"]'}}
    assert from_item(item).pods == (PodRecord(name="p-0"), PodRecord(name="p-1"))


def test_a_newer_releases_words_about_a_pod_are_ignored() -> None:
    item = {**to_item(a_job()), "pod_records": {"S": '[{"name": "p-0", "rank": 1, "added_later": true}]'}}
    assert from_item(item).pods == (PodRecord(name="p-0", rank=1),)


def test_the_pods_of_the_largest_job_fit_in_its_item() -> None:
    name = "job-01kfwq4v80aaaaaaaaaaaaaaaa-63-abcde"
    known: dict[str, Any] = {"phase": "Failed", "node": "ip-10-0-100-100.ec2.internal", "rank": 63}
    known |= dict.fromkeys(("created_at", "started_at", "finished_at"), START)
    pod = PodRecord(name=name, **known, restarts=10, exit_code=137, reason="OOMKilled")
    assert item_bytes(to_item(replace(a_job(), pods=(pod,) * MOST_PODS))) < MAX_ITEM_BYTES / 2


def test_a_newer_schema_is_not_read_and_so_not_written_over() -> None:
    with pytest.raises(StoreUnavailable, match="schema 2"):
        from_item({**to_item(a_job()), "schema": {"N": "2"}})


def test_a_tombstone_is_in_no_index_but_one() -> None:
    item = to_item(deleted(a_job(spec={"workspace_id": 1})))
    assert {name: value["S"] for name, value in item.items() if name.startswith("list_")} == {
        "list_all_status": "deleting"
    }


def test_a_job_without_a_workspace_is_in_no_index_of_workspaces() -> None:
    assert not {"list_workspace", "list_workspace_status"} & to_item(a_job()).keys()
