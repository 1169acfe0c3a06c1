"""What was uploaded outlives a stack that was lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import ministack, processes
from infra.local.config import Local
from tests.functional.queues.conftest import RESOURCES, alone
from tests.stack import start_ministack, stop_ministack


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Local]:
    """A MiniStack of the test's own."""
    local = alone(tmp_path)
    start_ministack(local)
    yield local
    stop_ministack(local)


def kill(local: Local) -> None:
    process = processes.find(local.run, "ministack")
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    assert processes.wait_until(lambda: not process.is_alive, 20)


def without_the_bucket(folder: Path) -> Path:
    """The stack of a release that had no bucket yet."""
    file = folder / "older.yaml"
    text = RESOURCES.read_text()
    file.write_text(text[: text.index("  Drops:")])
    return file


@pytest.mark.parametrize("known", ["nothing", "an older stack"])
def test_the_bucket_is_taken_over_with_all_its_versions(fresh: Local, tmp_path: Path, known: str) -> None:
    if known == "an older stack":
        ministack.deploy(fresh, without_the_bucket(tmp_path))
        stop_ministack(fresh)  # which saves it
        start_ministack(fresh)
    ministack.deploy(fresh, RESOURCES)
    s3 = ministack.client(fresh, "s3")
    first = s3.put_object(Bucket="drops", Key="work/a.json", Body=b"1")["VersionId"]
    s3.put_object(Bucket="drops", Key="work/a.json", Body=b"2")
    kill(fresh)
    start_ministack(fresh)
    deployed = ministack.deploy(fresh, RESOURCES)
    s3 = ministack.client(fresh, "s3")
    assert s3.get_object(Bucket="drops", Key="work/a.json", VersionId=first)["Body"].read() == b"1"
    assert s3.put_object(Bucket="drops", Key="work/a.json", Body=b"3")["VersionId"] not in ("", "null")
    answer = ministack.client(fresh, "sqs").receive_message(
        QueueUrl=deployed.resources["Work"], WaitTimeSeconds=10
    )
    assert "work/a.json" in answer["Messages"][0]["Body"]
