"""Each upload's jobs are started once, however it is told; the file beside it says what became of them.

What is wrong before a file could be read is said in Chinese: which language it asks for is not known yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from chalicelib.api.job_files import JobFiles
from chalicelib.domain.observed import Outcome
from chalicelib.domain.uploads import Place, Upload
from chalicelib.errors import ObjectsUnavailable, OutOfTime, StoreUnavailable
from chalicelib.services.bundles import WAIT_SECONDS, Bundles
from chalicelib.services.ports import CREATED_TOGETHER
from chalicelib.services.status_files import StatusFiles
from chalicelib.services.uploads import MAX_FILE_BYTES, Uploads
from chalicelib.settings import load
from tests.builders import ended_pod, running_pod
from tests.fake_bucket import BUCKET, FakeBucket
from tests.unit.services.conftest import ADA, Yard
from tests.unit.services.test_outbox import Crash, crash

KEY = "submissions/acme/night/train.yaml"
STATUS = "submissions/acme/night/train.status.json"
ONE = "jobName: one\nimage: python\ncommand: [python, train.py]\n"
BUNDLED = ONE + "bundle: code.tar.gz\n"
PLENTY = 60.0


def several(number: int) -> str:
    return "".join(f"- jobName: job {n}\n  image: python\n  command: [a]\n" for n in range(number))


@dataclass
class Dock:
    """Uploads on a whole Trainyard in memory."""

    yard: Yard
    bucket: FakeBucket = field(init=False)
    slept: list[float] = field(default_factory=list)
    on_sleep: Callable[[], Any] = lambda: None

    def __post_init__(self) -> None:
        self.bucket = FakeBucket(self.yard.clock)
        self.status_files = StatusFiles(self.yard.store, self.bucket, "https://api")
        self.uploads = Uploads(
            self.status_files,
            self.bucket,
            self.yard.submission,
            JobFiles(load({})),
            Bundles(self.bucket, self._sleep),
            self.yard.clock,
        )

    def take(self, upload: Upload, seconds: float = PLENTY) -> None:
        self.uploads.take(upload, lambda: seconds)

    def status(self, key: str = STATUS) -> dict[str, Any]:
        text = self.bucket.read_text(BUCKET, key)
        assert text is not None, "there is no status file"
        status: dict[str, Any] = json.loads(text.content)
        return status

    def ids(self) -> list[str]:
        return [job["job_id"] for job in self.status()["jobs"]]

    def names(self) -> list[str]:
        """Of every job that there is, whoever knows of it."""
        return sorted(job.spec.name for job in self.yard.store.unsettled())

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.on_sleep()


@pytest.fixture
def dock(yard: Yard) -> Dock:
    return Dock(yard)


def test_a_file_starts_its_job_in_its_tenants_name_and_says_so_beside_it(dock: Dock) -> None:
    dock.take(dock.bucket.put(KEY, ONE))
    status = dock.status()
    (shown,) = status["jobs"]
    job = dock.yard.jobs.get(ADA, shown["job_id"])
    assert (job.tenant, job.created_by, job.source) == ("acme", "s3:ada", f"s3://{BUCKET}/{KEY}")
    assert (shown["line"], shown["name"], shown["status"]) == (1, "one", "pending")
    assert shown["links"]["detail"] == f"https://api/api/v1/training/jobs/{job.id}"
    assert (status["state"], status["summary"], status["errors"]) == ("active", {"pending": 1}, [])
    assert status["object"]["version_id"] == "v1"


def test_a_file_of_several_starts_them_all_in_its_order(dock: Dock) -> None:
    dock.take(dock.bucket.put(KEY, several(5)))
    assert [job["name"] for job in dock.status()["jobs"]] == [f"job {n}" for n in range(5)]
    assert [job["line"] for job in dock.status()["jobs"]] == [1, 4, 7, 10, 13]
    assert len(dock.names()) == 5


def test_the_same_version_told_again_starts_nothing_twice(dock: Dock) -> None:
    upload = dock.bucket.put(KEY, several(3))
    for _ in range(10):
        dock.take(upload)
    assert len(dock.names()) == 3
    assert dock.bucket.written == [STATUS]


def test_a_new_version_is_a_new_job_and_the_status_file_tells_of_it(dock: Dock) -> None:
    dock.take(dock.bucket.put(KEY, ONE))
    (first,) = dock.ids()
    dock.yard.clock.move(5)
    dock.take(dock.bucket.put(KEY, ONE))
    (second,) = dock.ids()
    assert first != second
    assert dock.names() == ["one", "one"]


def test_an_older_version_that_is_told_late_is_started_and_does_not_take_the_status_file(dock: Dock) -> None:
    older, newer = dock.bucket.put(KEY, several(2)), dock.bucket.put(KEY, ONE)
    dock.take(newer)
    dock.take(older)
    dock.take(older)
    assert dock.names() == ["job 0", "job 1", "one"]
    assert [job["name"] for job in dock.status()["jobs"]] == ["one"]


def test_without_versions_etag_and_sequencer_tell_one_upload_from_the_next(dock: Dock) -> None:
    dock.bucket.keeps_versions = False
    upload = dock.bucket.put(KEY, ONE)
    dock.take(upload)
    dock.take(upload)
    assert dock.names() == ["one"]
    dock.take(dock.bucket.put(KEY, ONE))
    assert dock.names() == ["one", "one"]


def test_without_versions_one_that_was_replaced_before_it_was_read_leaves_the_word_to_the_newer(
    dock: Dock,
) -> None:
    dock.bucket.keeps_versions = False
    replaced, newer = dock.bucket.put(KEY, several(2)), dock.bucket.put(KEY, ONE)
    dock.take(replaced)
    assert dock.status()["errors"][0]["message"] == "在读取之前已被删除或替换"
    dock.take(newer)
    assert [job["name"] for job in dock.status()["jobs"]] == ["one"]
    assert dock.names() == ["one"]


def test_two_files_of_one_name_share_the_status_file_and_the_newest_has_it(dock: Dock) -> None:
    dock.take(dock.bucket.put(KEY, ONE))
    dock.yard.clock.move(1)
    dock.take(
        dock.bucket.put(
            "submissions/acme/night/train.json", '{"jobName": "b", "image": "i", "command": ["c"]}'
        )
    )
    assert dock.status()["object"]["key"] == "submissions/acme/night/train.json"


CALLS = ["find", "read", "read_text", "write_text"]


@pytest.mark.parametrize("call", CALLS)
def test_a_crash_at_the_bucket_and_a_repetition_start_each_job_once(dock: Dock, call: str) -> None:
    dock.bucket.put("submissions/acme/night/code.tar.gz", b"code")
    upload = dock.bucket.put(KEY, BUNDLED)
    dock.bucket.before[call] = crash
    with pytest.raises(Crash):
        dock.take(upload)
    dock.bucket.before.clear()
    dock.take(upload)
    assert dock.names() == ["one"]
    assert len(dock.ids()) == 1


def test_a_crash_after_the_status_file_is_written_changes_nothing(dock: Dock) -> None:
    upload = dock.bucket.put(KEY, several(3))
    dock.bucket.after["write_text"] = crash
    with pytest.raises(Crash):
        dock.take(upload)
    dock.bucket.after.clear()
    dock.take(upload)
    assert len(dock.names()) == 3
    assert dock.bucket.written == [STATUS]


def test_an_outage_of_the_bucket_is_told_to_the_queue(dock: Dock) -> None:
    def out() -> None:
        raise ObjectsUnavailable("no S3")

    upload = dock.bucket.put(KEY, ONE)
    dock.bucket.before["read"] = out
    with pytest.raises(ObjectsUnavailable):
        dock.take(upload)
    assert dock.names() == []


def test_an_outage_of_the_table_in_the_middle_is_told_and_the_repetition_starts_the_rest(dock: Dock) -> None:
    upload = dock.bucket.put(KEY, several(CREATED_TOGETHER + 4))
    store = dock.yard.store
    called = 0
    create_many = store.create_many

    def failing(wanted: Any) -> Any:
        nonlocal called
        called += 1
        if called == 2:
            raise StoreUnavailable("no DynamoDB")
        return create_many(wanted)

    store.create_many = failing  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        dock.take(upload)
    assert len(dock.names()) == CREATED_TOGETHER
    dock.take(upload)
    assert set(dock.names()) == {f"job {n}" for n in range(CREATED_TOGETHER + 4)}
    assert len(dock.names()) == len(set(dock.ids())) == CREATED_TOGETHER + 4


def test_a_call_that_runs_out_of_time_leaves_the_rest_to_the_next(dock: Dock) -> None:
    upload = dock.bucket.put(KEY, several(2 * CREATED_TOGETHER + 1))
    left = iter([60.0, 60.0, 5.0])
    with pytest.raises(OutOfTime, match=f"{2 * CREATED_TOGETHER} of {2 * CREATED_TOGETHER + 1}"):
        dock.uploads.take(upload, lambda: next(left))
    dock.take(upload)
    assert len(dock.names()) == len(set(dock.ids())) == 2 * CREATED_TOGETHER + 1


def test_a_replay_of_weeks_later_starts_nothing_twice_and_after_months_nothing_at_all(dock: Dock) -> None:
    count = CREATED_TOGETHER + 1
    upload = dock.bucket.put(KEY, several(count))
    with pytest.raises(OutOfTime):
        left = iter([60.0, 5.0])
        dock.uploads.take(upload, lambda: next(left))
    dock.yard.clock.move(30 * 24 * 3600)
    dock.take(upload)
    assert len(dock.names()) == len(set(dock.names())) == count
    late = dock.bucket.put(KEY, several(3))
    dock.yard.clock.move(61 * 24 * 3600)
    dock.take(late)
    assert dock.status()["errors"][0]["message"] == "上传超过 60 天后才被处理，请重新上传"
    assert len(dock.names()) == count


def test_one_wrong_job_keeps_all_of_its_file_from_being_started(dock: Dock) -> None:
    dock.take(dock.bucket.put(KEY, several(2) + "- jobName: c\n  image: python\n  command: [a]\n  cpus: 2\n"))
    status = dock.status()
    assert (status["state"], status["jobs"], status["error_count"]) == ("rejected", [], 1)
    assert status["errors"] == [
        {"line": 10, "field": "[2].cpus", "message": "is not a known field", "value": 2}
    ]
    assert dock.names() == []


def test_what_is_wrong_is_said_in_the_language_that_the_object_asks_for(dock: Dock) -> None:
    dock.take(dock.bucket.put(KEY, "jobName: 1\nimage: a\ncommand: [a]\n", language=""))
    assert dock.status()["errors"][0]["message"] == "必须是 1 到 128 个字符的字符串"


@pytest.mark.parametrize(
    ("key", "content", "field", "message"),
    [
        pytest.param("submissions/ACME/a.yaml", ONE, "key", "之后必须是租户名", id="no tenant's name"),
        pytest.param(KEY, " " * (MAX_FILE_BYTES + 1), "file", "不能超过 5242880 字节", id="too large"),
        pytest.param(KEY, "", "file", "must be one job, or a list of 1 to 1000", id="empty"),
        pytest.param(KEY, several(1001), "file", "must be one job, or a list of 1 to 1000", id="1,001 jobs"),
        pytest.param(KEY, "a: [", "file", "is not YAML", id="not YAML"),
        pytest.param(
            KEY, ONE + "bundle: ../x.zip\n", "bundle", "must be the name of a file in the same", id="up"
        ),
        pytest.param(KEY, ONE + "bundle: code.rar\n", "bundle", "that ends in .tar.gz, .tgz, .zip", id="rar"),
        pytest.param(KEY, BUNDLED, "bundle", "is not there: s3://", id="no bundle"),
        pytest.param(KEY, ONE + "resourcePoolId: a\n", "resourcePoolId", "is not known", id="no pool"),
    ],
)
def test_a_bad_file_is_done_and_says_what_is_wrong(
    dock: Dock, key: str, content: str, field: str, message: str
) -> None:
    dock.take(dock.bucket.put(key, content))
    status = dock.status(Place(BUCKET, key).status_key)
    (error,) = status["errors"]
    assert status["state"] == "rejected" and error["field"] == field
    assert message in error["message"]
    assert dock.names() == []


def test_a_file_that_is_gone_says_so(dock: Dock) -> None:
    upload = dock.bucket.put(KEY, ONE)
    dock.bucket.remove(KEY)
    dock.take(upload)
    assert dock.status()["errors"][0]["message"] == "在读取之前已被删除或替换"


def test_of_many_errors_the_first_are_shown_and_all_are_counted(dock: Dock) -> None:
    dock.take(dock.bucket.put(KEY, "- x: 1\n" * 1000))
    status = dock.status()
    assert len(status["errors"]) == 500
    assert status["error_count"] > 1000


def test_a_bundle_is_pinned_to_the_version_that_stands_when_the_job_comes(dock: Dock) -> None:
    dock.bucket.put("submissions/acme/night/code.tar.gz", b"old")
    dock.take(dock.bucket.put(KEY, BUNDLED))
    (job_id,) = dock.ids()
    dock.bucket.put("submissions/acme/night/code.tar.gz", b"new")
    bundle = dock.yard.jobs.get(ADA, job_id).spec.bundle
    assert bundle == f"s3://{BUCKET}/submissions/acme/night/code.tar.gz?versionId=v1"


def test_a_repetition_after_the_bundle_changed_is_still_the_same_job(dock: Dock) -> None:
    dock.bucket.put("submissions/acme/night/code.tar.gz", b"old")
    upload = dock.bucket.put(KEY, BUNDLED + "clientToken: abc\n")
    dock.bucket.before["read_text"] = crash
    for content in (b"old", b"new"):
        with pytest.raises(Crash):
            dock.take(upload)
        dock.bucket.put("submissions/acme/night/code.tar.gz", content)
    dock.bucket.before.clear()
    dock.take(upload)
    assert dock.names() == ["one"]
    assert len(dock.ids()) == 1


def test_a_bundle_may_come_a_little_later_than_its_file(dock: Dock) -> None:
    dock.on_sleep = lambda: dock.bucket.put("submissions/acme/night/code.tar.gz", b"code")
    dock.take(dock.bucket.put(KEY, BUNDLED))
    assert dock.slept == [1]
    assert dock.names() == ["one"]


def test_bundles_that_never_come_are_waited_for_once_a_file(dock: Dock) -> None:
    dock.take(
        dock.bucket.put(
            KEY, "".join(f"- {{jobName: a, image: a, command: [a], bundle: {n}.zip}}\n" for n in range(50))
        )
    )
    assert dock.status()["error_count"] == 50
    assert sum(dock.slept) == WAIT_SECONDS


def test_a_bundle_and_a_workspace_are_two_things_for_one_place(dock: Dock) -> None:
    dock.bucket.put("submissions/acme/night/code.tar.gz", b"code")
    dock.take(dock.bucket.put(KEY, BUNDLED + "workspaceId: 5\n"))
    assert dock.status()["errors"][0]["message"] == "cannot go with a workspace id: both would be /workspace"


def test_a_dry_run_starts_nothing_and_says_that_it_could(dock: Dock) -> None:
    dock.take(dock.bucket.put(KEY, ONE + "dryRun: true\n"))
    assert dock.status()["jobs"] == [{"line": 1, "status": "valid", "dry_run": True}]
    assert dock.status()["state"] == "finished"
    assert dock.names() == []


def test_a_client_token_makes_two_uploads_one_job_and_two_requests_an_error(dock: Dock) -> None:
    dock.take(dock.bucket.put(KEY, ONE + "clientToken: abc\n"))
    first = dock.ids()
    dock.take(dock.bucket.put(KEY, ONE + "clientToken: abc\n"))
    assert dock.ids() == first
    dock.take(dock.bucket.put(KEY, ONE.replace("one", "two") + "clientToken: abc\n"))
    (shown,) = dock.status()["jobs"]
    assert (shown["status"], shown["error"]["field"], shown["error"]["line"]) == (
        "rejected",
        "clientToken",
        4,
    )
    assert dock.names() == ["one"]


def test_a_job_that_was_deleted_before_the_repetition_stays_deleted(dock: Dock) -> None:
    upload = dock.bucket.put(KEY, several(CREATED_TOGETHER + 1))
    with pytest.raises(OutOfTime):
        left = iter([60.0, 5.0])
        dock.uploads.take(upload, lambda: next(left))
    (job,) = (job for job in dock.yard.store.unsettled() if job.spec.name == "job 0")
    dock.yard.jobs.delete(ADA, job.id)
    dock.take(upload)
    gone, *others = dock.status()["jobs"]
    assert (gone["status"], gone["error"]["message"]) == ("rejected", "has been deleted")
    assert [other["status"] for other in others] == ["pending"] * CREATED_TOGETHER


def test_the_status_file_follows_its_jobs_to_their_end(dock: Dock) -> None:
    dock.take(dock.bucket.put(KEY, ONE))
    (job_id,) = dock.ids()
    yard, place = dock.yard, Place(BUCKET, KEY)
    yard.outbox.deliver([job_id])
    yard.cluster.show(job_id, running_pod())
    yard.sync.look()
    dock.status_files.follow(place)
    assert dock.status()["summary"] == {"running": 1}
    yard.cluster.show(job_id, ended_pod(0), outcome=Outcome.COMPLETE)
    yard.sync.look()
    dock.status_files.follow(place)
    dock.status_files.follow(place)
    status = dock.status()
    assert (status["state"], status["jobs"][0]["status"], status["jobs"][0]["exit_code"]) == (
        "finished",
        "succeeded",
        0,
    )
    assert dock.bucket.written == [STATUS] * 3, "what stands already is not written again"


def test_a_writer_that_is_overtaken_leaves_the_newer_state(dock: Dock) -> None:
    """It reads the jobs, falls asleep, and writes over what another wrote meanwhile."""
    dock.take(dock.bucket.put(KEY, ONE))
    (job_id,) = dock.ids()
    dock.yard.jobs.stop(ADA, job_id)

    def overtaken() -> None:
        dock.bucket.before.clear()
        dock.yard.jobs.delete(ADA, job_id)
        dock.status_files.follow(Place(BUCKET, KEY))

    dock.bucket.before["write_text"] = overtaken
    dock.status_files.follow(Place(BUCKET, KEY))
    assert dock.status()["summary"] == {"deleted": 1}


def test_a_status_file_that_somebody_deleted_or_changed_is_put_right(dock: Dock) -> None:
    dock.take(dock.bucket.put(KEY, ONE))
    told = dock.bucket.read_text(BUCKET, STATUS)
    dock.bucket.put(STATUS, "nonsense")
    dock.status_files.follow(Place(BUCKET, KEY))
    assert dock.bucket.read_text(BUCKET, STATUS) == told


def test_a_status_file_that_never_stands_still_is_left_to_the_next_call(dock: Dock) -> None:
    dock.take(dock.bucket.put(KEY, ONE))
    dock.bucket.put(STATUS, "")
    others = count()
    dock.bucket.before["write_text"] = lambda: dock.bucket.put(STATUS, f"somebody else's {next(others)}")
    with pytest.raises(ObjectsUnavailable):
        dock.status_files.follow(Place(BUCKET, KEY))


def test_a_change_that_is_told_before_its_upload_is_known_waits_for_it(dock: Dock) -> None:
    dock.status_files.follow(Place(BUCKET, KEY))
    assert dock.bucket.written == []


def test_a_file_with_the_most_and_longest_errors_is_told_of_as_far_as_an_item_holds(dock: Dock) -> None:
    wrong = [{"jobName": "𝔘" * 200, "𝔛" * 200: "𝔘" * 200, "image": "𝔘" * 200} for _ in range(1000)]
    upload = dock.bucket.put("submissions/acme/bad.json", json.dumps(wrong, ensure_ascii=False))
    dock.take(upload)
    status = dock.status("submissions/acme/bad.status.json")
    assert status["error_count"] == 4000
    assert 50 < len(status["errors"]) < 500
