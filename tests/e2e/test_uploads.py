"""Jobs that are dropped into the bucket: from the upload to the status file beside it."""

from __future__ import annotations

import io
import json
import signal
import tarfile
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local import ministack, redrive, template
from infra.local.config import RESOURCES, SUBMISSIONS_BUCKET
from tests.e2e.conftest import TENANT, World, wait_for


@dataclass
class Folder:
    """A folder of the test's own in the bucket."""

    world: World
    path: str

    def __post_init__(self) -> None:
        self.s3 = ministack.client(self.world.stack.local, "s3")

    def upload(self, name: str, content: str | bytes, **metadata: str) -> None:
        self.s3.put_object(Bucket=SUBMISSIONS_BUCKET, Key=self.path + name, Body=content, Metadata=metadata)

    def told(self, name: str) -> dict[str, Any]:
        """S3's event of that upload."""
        found = self.s3.head_object(Bucket=SUBMISSIONS_BUCKET, Key=self.path + name)
        stored = {"key": self.path + name, "size": found["ContentLength"], "etag": found["ETag"].strip('"')}
        detail = {"bucket": {"name": SUBMISSIONS_BUCKET}, "object": {**stored, "sequencer": "00"}}
        return {"time": found["LastModified"].isoformat(), "detail": detail}

    def status(self, name: str) -> Any:
        """The status file as it is now; None when there is none yet."""
        try:
            found = self.s3.get_object(Bucket=SUBMISSIONS_BUCKET, Key=self.path + name)
        except ClientError:
            return None
        return json.loads(found["Body"].read())

    def ended(self, name: str) -> Any:
        return wait_for(lambda: self.status(name), lambda status: status and status["state"] != "active")

    def jobs(self) -> list[Any]:
        """Every job that came out of this folder, as the API lists them."""
        body = {"keyword": self.path.split("/")[2], "pageSize": 100}
        found: list[Any] = self.world.call("POST", "/api/jobs", body).json()["data"]["jobs"]
        return found


@pytest.fixture
def folder(world: World) -> Folder:
    return Folder(world, f"submissions/{TENANT}/{uuid.uuid4().hex[:8]}/")


def a_job(folder: Folder, *words: str, **fields: Any) -> dict[str, Any]:
    """A job of the jobs dialect whose name says which folder it is of."""
    name = f"{folder.path.split('/')[2]} {fields.pop('name', 'job')}"
    return {"jobName": name, "image": folder.world.image, "command": list(words), **fields}


def test_a_dropped_file_runs_and_its_status_file_follows_it_to_the_end(folder: Folder) -> None:
    folder.upload("job.json", json.dumps(a_job(folder, "sh", "-c", "echo out of the bucket")))
    status = folder.ended("job.status.json")
    (shown,) = status["jobs"]
    assert (shown["status"], shown["reason"], shown["exit_code"]) == ("succeeded", "Completed", 0)
    assert folder.world.logs(shown["job_id"]) == ["out of the bucket"]
    assert (
        folder.world.call("GET", shown["links"]["detail"].removeprefix(folder.world.stack.url)).status_code
        == 200
    )
    assert (
        folder.world.detail(shown["job_id"])["source"] == f"s3://{SUBMISSIONS_BUCKET}/{folder.path}job.json"
    )


def test_a_list_of_both_dialects_in_yaml(folder: Folder) -> None:
    v1 = {
        "name": f"{folder.path.split('/')[2]} v1",
        "framework": "pytorch",
        "script_path": "/workspace/none.py",
    }
    jobs = [a_job(folder, "true"), {**v1, "cpu": 1, "memory": 2**30, "gpu": 0}, a_job(folder, "false")]
    folder.upload("jobs.yml", "\n".join(f"- {json.dumps(job)}" for job in jobs))
    status = wait_for(
        lambda: folder.status("jobs.status.json"),
        lambda seen: seen and [job["status"] for job in seen["jobs"]][::2] == ["succeeded", "failed"],
    )
    assert [job["line"] for job in status["jobs"]] == [1, 2, 3]
    folder.world.call("DELETE", f"/api/jobs/{status['jobs'][1]['job_id']}")


def test_a_bad_file_says_what_is_wrong_and_where_and_starts_nothing(folder: Folder) -> None:
    text = f"- {json.dumps(a_job(folder, 'true'))}\n- jobName: b\n  image: python\n  comand: [a]\n"
    folder.upload("bad.yaml", text, **{"accept-language": "en"})
    status = folder.ended("bad.status.json")
    assert status["state"] == "rejected"
    assert [(e["line"], e["field"]) for e in status["errors"]] == [(4, "[1].comand"), (2, "[1].command")]
    assert "did you mean command?" in status["errors"][0]["message"]
    folder.upload("after.json", json.dumps(a_job(folder, "true")))
    folder.ended("after.status.json")
    assert len(folder.jobs()) == 1


def test_a_bundle_is_the_workspace(folder: Folder) -> None:
    if not folder.world.embedded:
        pytest.skip("pods of that cluster cannot reach a bucket on this machine's loopback")
    with tarfile.open(fileobj=(packed := io.BytesIO()), mode="w:gz") as tar:
        member = tarfile.TarInfo("train.py")
        member.size = len(script := b"print('out of the bundle')")
        tar.addfile(member, io.BytesIO(script))
    folder.upload("code.tar.gz", packed.getvalue())
    with tarfile.open(fileobj=(packed := io.BytesIO()), mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../climbs"))
    folder.upload("evil.tgz", packed.getvalue())
    bundled = [
        a_job(folder, "python", "train.py", bundle=name, name=name) for name in ("code.tar.gz", "evil.tgz")
    ]
    folder.upload("jobs.json", json.dumps(bundled))
    good, evil = folder.ended("jobs.status.json")["jobs"]
    assert folder.world.logs(good["job_id"]) == ["out of the bundle"]
    assert (evil["status"], evil["reason"]) == ("failed", "BundleFailed")
    assert "evil.tgz is refused: '../climbs' would be extracted to" in evil["message"]


def test_the_pump_is_killed_while_it_takes_a_file_and_every_job_runs_once(folder: Folder) -> None:
    if not folder.world.embedded:
        pytest.skip("one cluster is enough for what does not depend on it")
    folder.upload("many.json", json.dumps([a_job(folder, "true", name=str(n)) for n in range(60)]))
    wait_for(lambda: len(folder.jobs()) > 5)
    folder.world.stack.kill("pump", signal.SIGKILL)
    folder.world.stack.start("pump")
    # Who took the message is dead; the queue gives it to the next one when its visibility timeout is over.
    status = folder.ended("many.status.json")
    assert status["summary"] == {"succeeded": 60}
    assert len(folder.jobs()) == len({job["job_id"] for job in status["jobs"]}) == 60


def test_dead_letters_are_taken_after_a_redrive_and_however_often_they_come_only_once(folder: Folder) -> None:
    if not folder.world.embedded:
        pytest.skip("one cluster is enough for what does not depend on it")
    local = folder.world.stack.local
    deployed = ministack.deployed(local).resources
    events, sqs = ministack.client(local, "events"), ministack.client(local, "sqs")
    rule = deployed["UploadsRule"]
    events.disable_rule(Name=rule)
    try:
        folder.upload("late.json", json.dumps(a_job(folder, "true")))
    finally:
        events.enable_rule(Name=rule)
    told = json.dumps(folder.told("late.json"))
    for _ in range(3):
        sqs.send_message(QueueUrl=deployed["UploadsDeadLetters"], MessageBody=told)
    lines = redrive.report(local, template.read(RESOURCES))
    assert "UploadsDeadLetters: 3 moved to UploadsQueue" in lines
    for _ in range(10):
        sqs.send_message(QueueUrl=deployed["UploadsQueue"], MessageBody=told)
    folder.ended("late.status.json")
    wait_for(lambda: _left(sqs, deployed["UploadsQueue"]), lambda left: left == 0)
    assert len(folder.jobs()) == 1


def _left(sqs: Any, queue: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)
