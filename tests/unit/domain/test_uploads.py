"""Where job files lie, which upload is which, and what the status file says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from chalicelib.domain.job import Job
from chalicelib.domain.states import Status
from chalicelib.domain.uploads import Entry, Place, Receipt, Upload, bundle_uri, status_of
from tests.builders import JOB_ID, NOW, job, later

UPLOAD = Upload(
    place=Place("bucket", "submissions/acme/job.json"),
    version_id="v1",
    etag="e",
    sequencer="0055AED6DCD90281E5",
    size=2,
    uploaded_at=NOW,
)
UNVERSIONED = replace(UPLOAD, version_id=None)


@pytest.mark.parametrize(
    ("key", "tenant", "status_key"),
    [
        ("submissions/acme/job.json", "acme", "submissions/acme/job.status.json"),
        ("submissions/acme/job.yaml", "acme", "submissions/acme/job.status.json"),
        ("submissions/acme/a/b c/job.yml", "acme", "submissions/acme/a/b c/job.status.json"),
        ("submissions/acme/v1.2/job", None, ""),
        ("submissions/acme/job.v2.json", "acme", "submissions/acme/job.v2.status.json"),
        ("submissions/acme/status.json", "acme", "submissions/acme/status.status.json"),
        ("submissions/acme/job.status.yaml", "acme", "submissions/acme/job.status.status.json"),
        ("submissions/acme/line\nbreak.json", "acme", "submissions/acme/line\nbreak.status.json"),
        ("submissions/No Tenant/job.json", "No Tenant", "submissions/No Tenant/job.status.json"),
        ("submissions/acme/job.status.json", None, ""),
        ("submissions/acme/.status.json", None, ""),
        ("submissions/acme/job.JSON", None, ""),
        ("submissions/acme/code.zip", None, ""),
        ("submissions/job.json", None, ""),
        ("submissions//job.json", None, ""),
        ("submissions/acme/", None, ""),
        ("other/acme/job.json", None, ""),
        ("a/submissions/acme/job.json", None, ""),
        ("/submissions/acme/job.json", None, ""),
    ],
)
def test_job_files_lie_below_their_tenants_folder(key: str, tenant: str | None, status_key: str) -> None:
    place = Place("bucket", key)
    assert place.is_job_file is (tenant is not None)
    if tenant is not None:
        assert (place.tenant, place.status_key) == (tenant, status_key)
        assert not Place("bucket", place.status_key).is_job_file


def test_beside_is_in_the_same_folder() -> None:
    assert Place("b", "submissions/acme/a/job.json").beside("code.zip") == Place(
        "b", "submissions/acme/a/code.zip"
    )


@pytest.mark.parametrize("key", ["a", "submissions/acme/a b?#%20é.json", "//x", "s3://c/d"])
def test_a_place_is_found_again_by_its_uri(key: str) -> None:
    assert Place.of(Place("bucket", key).uri) == Place("bucket", key)


@pytest.mark.parametrize("uri", ["", "bucket/key", "https://bucket/key", "s3://bucket", "S3://bucket/key"])
def test_what_is_no_s3_uri_names_no_place(uri: str) -> None:
    assert Place.of(uri) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(UPLOAD, UPLOAD, True, id="told twice"),
        pytest.param(
            UPLOAD,
            replace(UPLOAD, sequencer="", uploaded_at=later(9), requester="x", size=0),
            True,
            id="told otherwise",
        ),
        pytest.param(UPLOAD, replace(UPLOAD, version_id="v2"), False, id="a new version of the same content"),
        pytest.param(UPLOAD, replace(UPLOAD, place=Place("bucket", "k")), False, id="another key"),
        pytest.param(UPLOAD, replace(UPLOAD, place=Place("b", UPLOAD.place.key)), False, id="another bucket"),
        pytest.param(UNVERSIONED, replace(UNVERSIONED, uploaded_at=later(9)), True, id="told later"),
        pytest.param(UNVERSIONED, replace(UNVERSIONED, sequencer="1"), False, id="uploaded again"),
        pytest.param(UNVERSIONED, replace(UNVERSIONED, etag="f"), False, id="another content"),
    ],
)
def test_an_upload_is_known_by_its_version_or_by_content_and_sequencer(
    one: Upload, other: Upload, same: bool
) -> None:
    assert (one.identity == other.identity) is same


@pytest.mark.parametrize(
    ("earlier", "seconds", "newer"),
    [
        pytest.param("0055AED6DCD90281E5", 0, "0055AED6DCD90281E6", id="by the last digit"),
        pytest.param("0055AED6DCD90281E5", 0, "0055AED6DCD90281E501", id="the longer one"),
        pytest.param("0055AED6DCD90281E5FF", 0, "0055AED6DCD90281E6", id="a shorter one"),
        pytest.param("9", 0, "A", id="hexadecimal"),
        pytest.param("FF", 1, "00", id="a second later, whatever the sequencer"),
        pytest.param("", 0, "1", id="over one without"),
    ],
)
def test_newer_uploads_sort_behind(earlier: str, seconds: float, newer: str) -> None:
    before = replace(UPLOAD, sequencer=earlier)
    behind = replace(UPLOAD, sequencer=newer, uploaded_at=later(seconds))
    assert before.ordinal < behind.ordinal


def test_sequencers_that_differ_by_zeros_at_the_end_are_equal() -> None:
    assert replace(UPLOAD, sequencer="A0").ordinal == replace(UPLOAD, sequencer="A").ordinal


@pytest.mark.parametrize(
    "key",
    [
        "submissions/acme/code.zip",
        "a b",
        "a%20b",
        "a?b=c",
        "a#b",
        "a+b&c;d",
        "/a//b",
        "é模\U0001f600",
        "a\nb",
    ],
)
@pytest.mark.parametrize("version", [None, "v1", "a/b+c=&%?#é"])
def test_a_bundles_uri_says_key_and_version_whatever_they_are(key: str, version: str | None) -> None:
    uri = bundle_uri(Place("bucket", key), version)
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc, unquote(parts.path[1:])) == ("s3", "bucket", key)
    assert parse_qs(parts.query) == ({"versionId": [version]} if version else {})
    assert uri.isascii() and uri.isprintable()


def told(*entries: Entry, jobs: tuple[Job, ...] = ()) -> dict[str, Any]:
    receipt = Receipt(upload=UPLOAD, entries=entries)
    return status_of(receipt, {one.id: one for one in jobs}, "https://api")


def test_the_status_file_says_which_upload_it_is_about_and_where_the_job_is() -> None:
    runs = job(Status.RUNNING, reason="Running", message="on n1", started_at=later(3), updated_at=later(4))
    assert told(Entry(line=3, job_id=JOB_ID), jobs=(runs,)) == {
        "object": {
            "bucket": "bucket",
            "key": "submissions/acme/job.json",
            "version_id": "v1",
            "etag": "e",
            "uploaded_at": "2026-01-26T10:00:00Z",
        },
        "state": "active",
        "summary": {"running": 1},
        "jobs": [
            {
                "line": 3,
                "job_id": JOB_ID,
                "name": "ResNet Training",
                "status": "running",
                "reason": "Running",
                "message": "on n1",
                "exit_code": None,
                "created_at": "2026-01-26T10:00:00Z",
                "started_at": "2026-01-26T10:00:03Z",
                "finished_at": None,
                "links": {
                    "detail": f"https://api/api/v1/training/jobs/{JOB_ID}",
                    "logs": f"https://api/api/v1/training/jobs/{JOB_ID}/logs",
                    "events": f"https://api/api/jobs/{JOB_ID}/events",
                },
            }
        ],
        "errors": [],
        "error_count": 0,
        "updated_at": "2026-01-26T10:00:04Z",
    }


ENDED = Status.SUCCEEDED


@pytest.mark.parametrize(
    ("states", "state", "summary"),
    [
        pytest.param([Status.PENDING], "active", {"pending": 1}, id="one waits"),
        pytest.param([ENDED, Status.FAILED], "finished", {"failed": 1, "succeeded": 1}, id="all have ended"),
        pytest.param([ENDED, Status.STOPPING], "active", {"stopping": 1, "succeeded": 1}, id="one stops"),
        pytest.param([ENDED, ENDED], "finished", {"succeeded": 2}, id="two of a kind"),
        pytest.param([None, ENDED], "finished", {"deleted": 1, "succeeded": 1}, id="one is gone"),
        pytest.param([], "finished", {}, id="there are none"),
    ],
)
def test_a_file_is_active_until_its_last_job_has_ended(
    states: list[Status | None], state: str, summary: dict[str, int]
) -> None:
    entries = [Entry(line=n, job_id=f"job-{n}") for n in range(len(states))]
    jobs = [job(status, id=f"job-{n}") for n, status in enumerate(states) if status]
    shown = told(*entries, jobs=tuple(jobs))
    assert (shown["state"], shown["summary"]) == (state, summary)


def test_a_job_that_is_being_deleted_is_deleted_and_holds_up_nothing() -> None:
    deleted = job(Status.STOPPING, deleted_at=NOW)
    shown = told(Entry(line=1, job_id=JOB_ID), jobs=(deleted,))
    assert (shown["state"], shown["jobs"]) == (
        "finished",
        [{"line": 1, "job_id": JOB_ID, "status": "deleted"}],
    )


def test_a_dry_run_is_said_to_be_valid() -> None:
    shown = told(Entry(line=1))
    assert shown["jobs"] == [{"line": 1, "status": "valid", "dry_run": True}]
    assert (shown["state"], shown["summary"]) == ("finished", {"valid": 1})


def test_one_job_may_be_refused_beside_others() -> None:
    error = {"line": 2, "field": "clientToken", "message": "m", "value": "t"}
    shown = told(Entry(line=1, job_id=JOB_ID), Entry(line=2, error=error), jobs=(job(Status.PENDING),))
    assert shown["jobs"][1] == {"line": 2, "status": "rejected", "error": error}
    assert (shown["state"], shown["summary"]) == ("active", {"pending": 1, "rejected": 1})


def test_a_file_with_errors_is_rejected_and_says_how_many_there_are() -> None:
    error = {"line": 2, "field": "cpu", "message": "m", "value": 0}
    shown = status_of(Receipt(upload=UPLOAD, errors=[error], error_count=900), {}, "")
    assert (shown["state"], shown["errors"], shown["error_count"]) == ("rejected", [error], 900)
    assert (shown["jobs"], shown["summary"], shown["updated_at"]) == ([], {}, "2026-01-26T10:00:00Z")


def test_the_order_in_which_jobs_are_given_changes_nothing() -> None:
    entries = [Entry(line=n, job_id=f"job-{n}") for n in range(5)]
    jobs = [job(list(Status)[n], id=f"job-{n}", updated_at=later(n)) for n in range(5)]
    one, other = (told(*entries, jobs=tuple(order)) for order in (jobs, jobs[::-1]))
    assert repr(one) == repr(other)
