"""A status file is written over what was read only, on a real bucket."""

from __future__ import annotations

from chalicelib.objects import S3Objects
from infra.local import ministack
from infra.local.config import Local

KEY = "submissions/acme/train.status.json"


def test_whoever_read_something_older_writes_nothing(local: Local) -> None:
    s3 = ministack.client(local, "s3")
    s3.create_bucket(Bucket="status-files")
    one, other = S3Objects(lambda: s3), S3Objects(lambda: s3)
    assert one.read_text("status-files", KEY) is None
    assert one.write_text("status-files", KEY, "first", None)
    assert not other.write_text("status-files", KEY, "late", None)
    first = other.read_text("status-files", KEY)
    assert first is not None
    assert one.write_text("status-files", KEY, "second", first)
    assert not other.write_text("status-files", KEY, "late", first)
    second = one.read_text("status-files", KEY)
    assert second is not None
    assert second.content == "second"
    s3.delete_object(Bucket="status-files", Key=KEY)
    assert not one.write_text("status-files", KEY, "third", second)
    assert one.write_text("status-files", KEY, "third", None)
