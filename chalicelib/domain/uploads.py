"""Job files in a bucket: what an upload is, what came of it, and the status file that says so beside it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from chalicelib.domain.job import Job
from chalicelib.domain.moments import timestamp

ROOT = "submissions"
ENDINGS = (".json", ".yaml", ".yml")
STATUS_ENDING = ".status.json"
BUNDLE_ENDINGS = (".tar.gz", ".tgz", ".zip")
MOST_JOBS = 1000  # of one file
_KEY = re.compile(rf"{ROOT}/(?P<tenant>[^/]+)/(?P<path>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job file lies. Its status file lies beside it: `a/job.yaml` → `a/job.status.json`."""

    bucket: str
    key: str

    @property
    def is_job_file(self) -> bool:
        """Whether the object is one that jobs are read from; status files are not."""
        ours = _KEY.fullmatch(self.key) and self.key.endswith(ENDINGS)
        return bool(ours) and not self.key.endswith(STATUS_ENDING)

    @property
    def tenant(self) -> str:
        """The folder below `submissions/`: who may write there is the bucket's policy to say."""
        match = _KEY.fullmatch(self.key)
        return match["tenant"] if match else ""

    @property
    def status_key(self) -> str:
        return self.key.rpartition(".")[0] + STATUS_ENDING

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def beside(self, name: str) -> Place:
        """The object of that name in the same folder."""
        return Place(self.bucket, f"{self.key.rpartition('/')[0]}/{name}")

    @staticmethod
    def of(uri: str) -> Place | None:
        """The place that `uri` writes; None if it is no S3 URI."""
        bucket, slash, key = uri.removeprefix("s3://").partition("/")
        return Place(bucket, key) if uri.startswith("s3://") and slash else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One version of an object, as S3's "Object Created" tells of it. `version_id` is None in a bucket that
    keeps no versions: there etag and sequencer tell one upload from the next."""

    place: Place
    version_id: str | None
    etag: str
    sequencer: str
    size: int
    uploaded_at: datetime
    requester: str = ""

    @property
    def identity(self) -> str:
        """The same for every telling of this version, and for nothing else."""
        version = self.version_id or f"{self.etag}\n{self.sequencer}"
        return hashlib.sha256(f"{self.place.bucket}\n{self.place.key}\n{version}".encode()).hexdigest()

    @property
    def ordinal(self) -> str:
        """Sorts the uploads that share a status file: by time, and within a second by S3's sequencer, which
        is compared after padding it with zeros on the right."""
        return f"{self.uploaded_at:%Y-%m-%dT%H:%M:%SZ}#{self.sequencer:0<40}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What came of one job of a file: the job, or what stood against it, or neither for a dry run."""

    line: int | None
    job_id: str | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What came of an upload as a whole: its jobs, or the errors for which none was started."""

    upload: Upload
    entries: Sequence[Entry] = ()
    errors: Sequence[Mapping[str, Any]] = ()
    error_count: int = 0


def bundle_uri(place: Place, version_id: str | None) -> str:
    """`s3://bucket/key?versionId=…`, the key percent-encoded: what the unpacking container is given."""
    version = f"?versionId={quote(version_id, safe='')}" if version_id else ""
    return f"s3://{place.bucket}/{quote(place.key)}{version}"


def status_of(receipt: Receipt, jobs: Mapping[str, Job], api_url: str) -> dict[str, Any]:
    """The status file: docs/uploads.md has its shape. The same jobs in the same states give the same file."""
    upload = receipt.upload
    shown = [_entry(entry, jobs.get(entry.job_id or ""), api_url) for entry in receipt.entries]
    moments = [job.updated_at for job in jobs.values()]
    goes_on = any(not job.is_terminal and not job.is_deleted for job in jobs.values())
    return {
        "object": {
            "bucket": upload.place.bucket,
            "key": upload.place.key,
            "version_id": upload.version_id,
            "etag": upload.etag,
            "uploaded_at": timestamp(upload.uploaded_at),
        },
        "state": "rejected" if receipt.error_count else "active" if goes_on else "finished",
        "summary": dict(sorted(Counter(entry["status"] for entry in shown).items())),
        "jobs": shown,
        "errors": list(receipt.errors),
        "error_count": receipt.error_count,
        "updated_at": timestamp(max(moments, default=upload.uploaded_at)),
    }


def _entry(entry: Entry, job: Job | None, api_url: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"line": entry.line}
    if entry.error is not None:
        return shown | {"status": "rejected", "error": dict(entry.error)}
    if entry.job_id is None:
        return shown | {"status": "valid", "dry_run": True}
    shown["job_id"] = entry.job_id
    if job is None or job.is_deleted:
        return shown | {"status": "deleted"}
    return shown | {
        "name": job.spec.name,
        "status": job.status.value,
        "reason": job.reason,
        "message": job.message,
        "exit_code": job.exit_code,
        "created_at": timestamp(job.created_at),
        "started_at": timestamp(job.started_at),
        "finished_at": timestamp(job.finished_at),
        "links": {
            "detail": f"{api_url}/api/v1/training/jobs/{job.id}",
            "logs": f"{api_url}/api/v1/training/jobs/{job.id}/logs",
            "events": f"{api_url}/api/jobs/{job.id}/events",
        },
    }
