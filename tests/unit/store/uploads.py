"""How receipts of uploads behave, on whatever DynamoDB the fixture `bench` stands on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.uploads import Entry, Place, Receipt, Upload
from chalicelib.services.ports import UPLOAD_KEPT
from chalicelib.store.keys import upload_key
from tests.unit.store.support import START, Bench

PLACE = Place("bucket", "submissions/acme/a/job.yaml")
UPLOAD = Upload(
    place=PLACE,
    version_id="v1",
    etag="e",
    sequencer="A1",
    size=7,
    uploaded_at=START.replace(microsecond=0),
    requester="AIDA:ada",
)
STARTED = Receipt(upload=UPLOAD, entries=[Entry(line=1, job_id="job-1"), Entry(line=None)], errors=[])
REFUSED = Receipt(
    upload=replace(UPLOAD, version_id=None, sequencer=""),
    entries=[Entry(line=3, error={"line": 3, "field": "clientToken", "message": "模", "value": None})],
    errors=[{"line": None, "field": "\ud800", "message": "é", "value": 1.5}],
    error_count=900,
)


def sequenced(sequencer: str, seconds: float = 0) -> Receipt:
    moment = UPLOAD.uploaded_at + timedelta(seconds=seconds)
    return replace(STARTED, upload=replace(UPLOAD, sequencer=sequencer, uploaded_at=moment))


@pytest.mark.parametrize("receipt", [STARTED, REFUSED], ids=["jobs were started", "it was refused"])
def test_a_receipt_is_read_back_as_it_was(bench: Bench, receipt: Receipt) -> None:
    assert bench.store.upload(PLACE) is None
    assert bench.store.save_upload(receipt)
    assert bench.store.upload(PLACE) == receipt


def test_a_receipt_of_a_thousand_jobs_fits(bench: Bench) -> None:
    entries = [Entry(line=10_000 + n, job_id=f"job-{n:026}") for n in range(1000)]
    assert bench.store.save_upload(replace(STARTED, entries=entries))
    found = bench.store.upload(PLACE)
    assert found is not None
    assert found.entries == entries


@pytest.mark.parametrize(
    ("second", "taken"),
    [
        pytest.param(sequenced("A2"), True, id="a newer sequencer"),
        pytest.param(sequenced("A1F"), True, id="a longer one"),
        pytest.param(sequenced("00", seconds=1), True, id="a second later"),
        pytest.param(sequenced("A1"), True, id="the same upload again"),
        pytest.param(sequenced("A0FF"), False, id="an older sequencer"),
        pytest.param(sequenced("FF", seconds=-1), False, id="a second earlier"),
    ],
)
def test_the_newest_upload_of_a_place_is_the_one_that_counts(
    bench: Bench, second: Receipt, taken: bool
) -> None:
    second = replace(second, entries=[])
    assert bench.store.save_upload(STARTED)
    assert bench.store.save_upload(second) is taken
    assert bench.store.upload(PLACE) == (second if taken else STARTED)


def test_files_with_one_status_file_have_one_receipt(bench: Bench) -> None:
    other = Place(PLACE.bucket, PLACE.key.replace(".yaml", ".json"))
    receipt = replace(STARTED, upload=replace(UPLOAD, place=other))
    assert bench.store.save_upload(receipt)
    assert bench.store.upload(PLACE) == receipt


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(Place("bucket", "submissions/acme/a/job.v2.yaml"), id="another name"),
        pytest.param(Place("bucket", "submissions/acme/A/job.yaml"), id="in other letters"),
        pytest.param(Place("other", PLACE.key), id="in another bucket"),
    ],
)
def test_receipts_of_other_places_are_others(bench: Bench, place: Place) -> None:
    assert bench.store.save_upload(STARTED)
    assert bench.store.upload(place) is None
    assert bench.store.save_upload(replace(STARTED, upload=replace(sequenced("0").upload, place=place)))
    assert bench.store.upload(PLACE) == STARTED


@pytest.mark.parametrize("key", ["submissions/acme/模 #%?.json", f"submissions/acme/{'k' * 1000}.json"])
def test_any_key_will_do(bench: Bench, key: str) -> None:
    place = Place("bucket", key)
    receipt = replace(STARTED, upload=replace(UPLOAD, place=place))
    assert bench.store.save_upload(receipt)
    assert bench.store.upload(place) == receipt


def test_a_receipt_says_when_ttl_may_remove_it(bench: Bench) -> None:
    bench.store.save_upload(STARTED)
    item = bench.item(upload_key(PLACE.bucket, PLACE.status_key))
    assert item is not None
    assert item["expires_at"] == {"N": str(int((UPLOAD.uploaded_at + UPLOAD_KEPT).timestamp()))}


def test_a_receipt_is_nothing_that_the_outbox_or_a_list_sees(bench: Bench) -> None:
    bench.store.save_upload(STARTED)
    item = bench.item(upload_key(PLACE.bucket, PLACE.status_key))
    assert item is not None
    assert item["sk"] != {"S": "JOB"}
    assert not [name for name in item if name.startswith("list_")]
