"""Jobs that come as files in a bucket: starts each upload's once, however often it is told.

They are created under keys made of the upload's identity, so that a call that dies anywhere can be repeated.
All of a file is checked before any of it is started: one that is corrected and uploaded again is a new
version, and would start the good ones twice.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from chalicelib.domain.uploads import Entry, Receipt, Upload
from chalicelib.errors import FieldError, InvalidRequest, OutOfTime
from chalicelib.services.bundles import Bundles
from chalicelib.services.caller import Caller, Role, is_tenant
from chalicelib.services.object_ports import Objects
from chalicelib.services.ports import CREATED_TOGETHER, UPLOAD_KEPT, UPLOAD_TAKEN, Clock, Idempotency
from chalicelib.services.status_files import StatusFiles
from chalicelib.services.submission import JobRequest, Submission

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 5 * 1024**2
MOST_ERRORS = 500  # that a status file shows,
MOST_ERROR_BYTES = 256 * 1024  # if they are not longer than that: the store keeps them in one item
SECONDS_LEFT = 10.0  # that a call needs to say how far it came

Located = tuple[int | None, FieldError]  # with the line that it is on


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One job of a file, each field within its bounds. `bundle` is the archive's name; `locate` finds a wrong
    field of ours in the file, under the name that its dialect has for it."""

    line: int
    request: JobRequest
    client_token: str | None
    dry_run: bool
    bundle: str | None
    locate: Callable[[FieldError], Located]


class BadFile(Exception):
    """A job file that is wrong: all that is."""

    def __init__(self, errors: Sequence[Located]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = errors


class JobFiles(Protocol):
    """Reads job files, and says what is wrong with them."""

    def read(self, content: bytes, name: str) -> Sequence[Wanted]:
        """Raises BadFile."""
        ...

    def worded(self, error: Located, language: str) -> Mapping[str, Any]:
        """An error as the status file shows it, in the language that an Accept-Language likes best."""
        ...


class Uploads:
    """Takes uploads."""

    def __init__(
        self,
        status_files: StatusFiles,
        objects: Objects,
        submission: Submission,
        files: JobFiles,
        bundles: Bundles,
        clock: Clock,
    ) -> None:
        self._status_files = status_files
        self._objects = objects
        self._submission = submission
        self._files = files
        self._bundles = bundles
        self._clock = clock

    def take(self, upload: Upload, seconds_left: Callable[[], float]) -> None:
        """Start what the upload asks for, once, and say so beside it. Raises Retryable: call again."""
        known = self._status_files.known(upload.place)
        if known is None or known.upload.identity != upload.identity:
            receipt = self._receipt(upload, seconds_left)
            jobs, errors = len(receipt.entries), receipt.error_count
            about = {"tenant": upload.place.tenant, "source": upload.place.uri}
            log.info("%s: %d jobs, %d errors", upload.place.uri, jobs, errors, extra=about)
            self._status_files.keep(receipt)
        self._status_files.follow(upload.place)

    def _receipt(self, upload: Upload, seconds_left: Callable[[], float]) -> Receipt:
        language = ""
        try:
            self._check(upload)
            stored = self._objects.read(upload)
            if stored is None:
                raise BadFile([(None, FieldError("file", "upload_gone"))])
            language = stored.language
            caller = Caller(upload.place.tenant, f"s3:{upload.requester}", frozenset({Role.MEMBER}))
            name = upload.place.key.rpartition("/")[2]
            wanted = self._checked(upload, caller, self._files.read(stored.content, name))
            entries = list(self._submitted(upload, caller, wanted, language, seconds_left))
        except BadFile as bad:
            worded = (self._files.worded(error, language) for error in bad.errors[:MOST_ERRORS])
            return Receipt(upload=upload, errors=list(_fitting(worded)), error_count=len(bad.errors))
        return Receipt(upload=upload, entries=entries)

    def _check(self, upload: Upload) -> None:
        """What can be said before the file is read. Raises BadFile."""
        wrong: list[FieldError] = []
        if not is_tenant(upload.place.tenant):
            wrong.append(FieldError("key", "upload_tenant", upload.place.key))
        if self._clock() - upload.uploaded_at > UPLOAD_TAKEN:
            wrong.append(
                FieldError("file", "upload_late", str(upload.uploaded_at), {"days": UPLOAD_TAKEN.days})
            )
        if upload.size > MAX_FILE_BYTES:
            wrong.append(FieldError("file", "too_large", upload.size, {"bytes": MAX_FILE_BYTES}))
        if wrong:
            raise BadFile([(None, error) for error in wrong])

    def _checked(self, upload: Upload, caller: Caller, wanted: Sequence[Wanted]) -> Sequence[Wanted]:
        """The jobs with their bundles found. Raises BadFile before any of them is started."""
        found = self._bundles.find(upload.place, {one.bundle for one in wanted if one.bundle})
        wrong: list[Located] = []
        checked = []
        for one in wanted:
            bundle = found.get(one.bundle or "")
            if isinstance(bundle, FieldError):
                wrong.append(one.locate(bundle))
            elif bundle and one.request.workspace_id is not None:
                wrong.append(one.locate(FieldError("bundle", "bundle_or_workspace", one.bundle)))
            request = replace(one.request, bundle=bundle if isinstance(bundle, str) else None)
            try:
                self._submission.render(caller, request)
            except InvalidRequest as error:
                wrong += map(one.locate, error.errors)
            checked.append(replace(one, request=request))
        if wrong:
            raise BadFile(wrong)
        return checked

    def _submitted(
        self,
        upload: Upload,
        caller: Caller,
        wanted: Sequence[Wanted],
        language: str,
        seconds_left: Callable[[], float],
    ) -> Iterator[Entry]:
        numbered = list(enumerate(wanted))
        for start in range(0, len(numbered), CREATED_TOGETHER):
            if seconds_left() < SECONDS_LEFT:
                raise OutOfTime(f"{upload.place.uri}: {start} of {len(wanted)} jobs are started")
            portion = numbered[start : start + CREATED_TOGETHER]
            keyed = [(one.request, _key(upload, number, one)) for number, one in portion if not one.dry_run]
            made = iter(self._submission.submit_many(caller, keyed, upload.place.uri))
            for _, one in portion:
                if one.dry_run:
                    yield Entry(line=one.line)
                elif job := next(made):
                    yield Entry(line=one.line, job_id=job.id)
                else:
                    yield Entry(line=one.line, error=self._files.worded(one.locate(_taken(one)), language))


def _taken(wanted: Wanted) -> FieldError:
    """Why a job's key stands for something else."""
    if wanted.client_token is not None:
        return FieldError("client_token", "token_used", wanted.client_token)
    return FieldError("job", "job_deleted")


def _fitting(errors: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    size = 0
    for error in errors:
        size += len(json.dumps(error))
        if size > MOST_ERROR_BYTES:
            return
        yield error


def _key(upload: Upload, number: int, wanted: Wanted) -> Idempotency:
    """A caller's own key never holds a space, so that ours is none of his. What the bundle's name stands for
    may change between two tellings, and is therefore no part of what is compared."""
    kept = int(UPLOAD_KEPT.total_seconds())
    if wanted.client_token is None:
        key = f"upload {upload.identity} {number}"
        return Idempotency(key, key, kept)
    request = replace(wanted.request, bundle=wanted.bundle)
    return Idempotency(wanted.client_token, request.fingerprint(), kept)
