"""The Objects port on S3: job files, the archives beside them, and their status files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from chalicelib.domain.uploads import Place, Upload
from chalicelib.errors import ObjectsUnavailable
from chalicelib.services.object_ports import Stored, Text

LANGUAGE = "accept-language"  # of an object's own metadata
_GONE = {"404", "NoSuchKey", "NoSuchVersion", "NotFound", "MethodNotAllowed", "412", "PreconditionFailed"} | {
    "ConditionalRequestConflict"  # another write of the same key is under way
}


class S3Objects:
    """services.object_ports.Objects; the client is made on first use."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._client: Any = None

    def find(self, place: Place) -> Stored | None:
        try:
            with _translated():
                found = self._s3.head_object(Bucket=place.bucket, Key=place.key)
        except _Gone:
            return None
        return Stored(_version(found), int(found["ContentLength"]))

    def read(self, upload: Upload) -> Stored | None:
        which = {"VersionId": upload.version_id} if upload.version_id else {"IfMatch": f'"{upload.etag}"'}
        try:
            with _translated():
                found = self._s3.get_object(Bucket=upload.place.bucket, Key=upload.place.key, **which)
                content = found["Body"].read()
        except _Gone:
            return None
        return Stored(_version(found), len(content), content, found.get("Metadata", {}).get(LANGUAGE, ""))

    def read_text(self, bucket: str, key: str) -> Text | None:
        try:
            with _translated():
                found = self._s3.get_object(Bucket=bucket, Key=key)
                body = found["Body"].read()
        except _Gone:
            return None
        return Text(body.decode(errors="replace"), found["ETag"])

    def write_text(self, bucket: str, key: str, text: str, over: Text | None) -> bool:
        try:
            with _translated():
                self._s3.put_object(
                    Bucket=bucket,
                    Key=key,
                    Body=text.encode(errors="replace"),
                    ContentType="application/json; charset=utf-8",
                    CacheControl="no-cache",
                    **({"IfMatch": over.etag} if over else {"IfNoneMatch": "*"}),
                )
        except _Gone:
            return False
        return True

    @property
    def _s3(self) -> Any:
        if self._client is None:
            self._client = self._connect()
        return self._client


class _Gone(Exception):
    """What was asked for is not there. Never leaves this module."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            raise _Gone from error
        raise ObjectsUnavailable(f"S3: {error}") from error
    except (BotoCoreError, HTTPError) as error:  # botocore lets out some of urllib3's while a body is read
        raise ObjectsUnavailable(f"S3 does not answer: {error}") from error


def _version(found: Any) -> str | None:
    version = found.get("VersionId")
    return None if version in (None, "null") else str(version)
