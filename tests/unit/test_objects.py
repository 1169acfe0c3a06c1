"""The bucket by what S3 answers, and by what it does not."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from botocore.response import StreamingBody
from botocore.stub import Stubber
from urllib3.exceptions import IncompleteRead, ProtocolError, SSLError
from urllib3.exceptions import ReadTimeoutError as PoolReadTimeout

from chalicelib.aws import client
from chalicelib.aws_session import AwsSession
from chalicelib.domain.uploads import Place, Upload
from chalicelib.errors import ObjectsUnavailable
from chalicelib.objects import S3Objects
from chalicelib.services.object_ports import Stored, Text

PLACE = Place("bucket", "submissions/acme/a b/job.json")
WHERE = {"Bucket": PLACE.bucket, "Key": PLACE.key}


def upload(version_id: str | None = "v1") -> Upload:
    return Upload(
        place=PLACE,
        version_id=version_id,
        etag="0123abcd",
        sequencer="1",
        size=2,
        uploaded_at=datetime(2026, 1, 26, tzinfo=UTC),
    )


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("AWS_ENDPOINT_URL", raising=False)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(name, "x")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield client(AwsSession(), "s3")


@pytest.fixture
def stub(s3: Any) -> Iterator[Stubber]:
    with Stubber(s3) as stub:
        yield stub


@pytest.fixture
def objects(s3: Any) -> S3Objects:
    return S3Objects(lambda: s3)


def body(content: bytes) -> StreamingBody:
    return StreamingBody(io.BytesIO(content), len(content))


CALLS: list[Any] = [
    pytest.param("head_object", lambda objects: objects.find(PLACE), id="find"),
    pytest.param("get_object", lambda objects: objects.read(upload()), id="read"),
    pytest.param("get_object", lambda objects: objects.read(upload(None)), id="read without versions"),
    pytest.param("get_object", lambda objects: objects.read_text(PLACE.bucket, PLACE.key), id="read text"),
]
Act = Callable[[S3Objects], Any]


def test_a_version_is_read_by_its_id(stub: Stubber, objects: S3Objects) -> None:
    answer = {"Body": body(b"{}"), "VersionId": "v1", "Metadata": {"accept-language": "en"}}
    stub.add_response("get_object", answer, WHERE | {"VersionId": "v1"})
    assert objects.read(upload()) == Stored("v1", 2, b"{}", "en")
    stub.assert_no_pending_responses()


def test_without_versions_the_content_that_was_uploaded_is_read_and_no_other(
    stub: Stubber, objects: S3Objects
) -> None:
    stub.add_response("get_object", {"Body": body(b"{}")}, WHERE | {"IfMatch": '"0123abcd"'})
    assert objects.read(upload(None)) == Stored(None, 2, b"{}", "")
    stub.assert_no_pending_responses()


@pytest.mark.parametrize(("told", "version"), [("v7", "v7"), ("null", None), (None, None)])
def test_what_stands_there_is_found_with_its_version_and_size(
    stub: Stubber, objects: S3Objects, told: str | None, version: str | None
) -> None:
    answer = {"ContentLength": 12} | ({"VersionId": told} if told else {})
    stub.add_response("head_object", answer, WHERE)
    assert objects.find(PLACE) == Stored(version, 12)


@pytest.mark.parametrize(("operation", "act"), CALLS)
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("404", 404),
        ("NoSuchKey", 404),
        ("NoSuchVersion", 404),
        ("MethodNotAllowed", 405),
        ("412", 412),
        ("PreconditionFailed", 412),
    ],
)
def test_what_is_gone_is_none(
    stub: Stubber, objects: S3Objects, operation: str, act: Act, code: str, status: int
) -> None:
    stub.add_client_error(operation, code, http_status_code=status)
    assert act(objects) is None


@pytest.mark.parametrize(
    ("operation", "act"),
    [
        *CALLS,
        pytest.param(
            "put_object",
            lambda objects: objects.write_text(PLACE.bucket, PLACE.key, "x", None),
            id="write text",
        ),
    ],
)
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("AccessDenied", 403),
        ("403", 403),
        ("NoSuchBucket", 404),
        ("ExpiredToken", 400),
        ("SlowDown", 503),
        ("InternalError", 500),
    ],
)
def test_what_s3_refuses_or_fails_at_is_for_later(
    stub: Stubber, objects: S3Objects, operation: str, act: Act, code: str, status: int
) -> None:
    stub.add_client_error(operation, code, http_status_code=status)
    with pytest.raises(ObjectsUnavailable, match=code):
        act(objects)


class Silent:
    """A client whose every call fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, operation: str) -> Any:
        def call(**_: Any) -> Any:
            raise self.error

        return call


@pytest.mark.parametrize("act", [call.values[1] for call in CALLS], ids=[call.id for call in CALLS])
@pytest.mark.parametrize(
    "error",
    [
        ConnectTimeoutError(endpoint_url="s3"),
        ReadTimeoutError(endpoint_url="s3"),
        EndpointConnectionError(endpoint_url="s3"),
    ],
    ids=["connecting takes long", "answering takes long", "nobody there"],
)
def test_an_s3_that_does_not_answer_is_for_later(act: Act, error: Exception) -> None:
    with pytest.raises(ObjectsUnavailable):
        act(S3Objects(lambda: Silent(error)))


class Broken(io.RawIOBase):
    """What comes over a connection that breaks off."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def read(self, _: int | None = None) -> bytes:
        if self.error:
            raise self.error
        return b"{"


@pytest.mark.parametrize("act", [call.values[1] for call in CALLS[1:]], ids=[call.id for call in CALLS[1:]])
@pytest.mark.parametrize(
    "error",
    [
        pytest.param(None, id="it ends too early"),
        pytest.param(IncompleteRead(1, 1), id="urllib3 sees that it ends too early"),
        pytest.param(ProtocolError("reset", ConnectionResetError()), id="it is reset"),
        pytest.param(PoolReadTimeout(None, "/", "slow"), id="nothing comes any more"),  # type: ignore[arg-type]
        pytest.param(SSLError("bad record mac"), id="it is garbled"),
    ],
)
def test_a_body_that_does_not_come_whole_is_for_later(
    stub: Stubber, objects: S3Objects, act: Act, error: Exception | None
) -> None:
    stub.add_response("get_object", {"Body": StreamingBody(Broken(error), 2)})
    with pytest.raises(ObjectsUnavailable):
        act(objects)


OVER = {
    "Body": b"x",
    "ContentType": "application/json; charset=utf-8",
    "CacheControl": "no-cache",
    "IfMatch": '"e"',
}


def test_text_that_is_not_utf8_is_read_as_well_as_can_be(stub: Stubber, objects: S3Objects) -> None:
    stub.add_response("get_object", {"Body": body(b"a\xffb"), "ETag": '"e"'}, WHERE)
    assert objects.read_text(PLACE.bucket, PLACE.key) == Text("a\ufffdb", '"e"')


def test_text_that_utf8_cannot_hold_is_written_as_well_as_can_be(stub: Stubber, objects: S3Objects) -> None:
    wanted = {
        "Body": "é?".encode(),
        "ContentType": "application/json; charset=utf-8",
        "CacheControl": "no-cache",
    }
    stub.add_response("put_object", {}, WHERE | wanted | {"IfNoneMatch": "*"})
    assert objects.write_text(PLACE.bucket, PLACE.key, "é\ud800", None)
    stub.assert_no_pending_responses()


@pytest.mark.parametrize("code", ["PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"])
def test_text_is_written_over_what_was_read_or_not_at_all(
    stub: Stubber, objects: S3Objects, code: str
) -> None:
    stub.add_client_error("put_object", code, expected_params=WHERE | OVER)
    assert not objects.write_text(PLACE.bucket, PLACE.key, "x", Text("what was read", '"e"'))


def test_the_client_is_made_once_and_only_when_it_is_used(s3: Any, stub: Stubber) -> None:
    made: list[Any] = []

    def connect() -> Any:
        made.append(s3)
        return s3

    objects = S3Objects(connect)
    assert not made
    for _ in range(2):
        stub.add_client_error("head_object", "404", http_status_code=404)
        objects.find(PLACE)
    assert made == [s3]
