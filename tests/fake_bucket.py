"""A bucket in memory that keeps versions, tells of uploads, and fails when a test says so."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from chalicelib.domain.uploads import Place, Upload
from chalicelib.services.object_ports import Stored, Text

BUCKET = "submissions-of-tests"


@dataclass
class FakeBucket:
    """services.object_ports.Objects. `before` and `after` hold what to do around a call, by its name."""

    clock: Callable[[], datetime]
    keeps_versions: bool = True
    before: dict[str, Callable[[], object]] = field(default_factory=dict)
    after: dict[str, Callable[[], object]] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    _versions: defaultdict[str, list[tuple[str, Stored]]] = field(default_factory=lambda: defaultdict(list))

    def put(self, key: str, content: str | bytes, language: str = "en") -> Upload:
        """An upload by somebody; what S3 tells of it."""
        data = content.encode() if isinstance(content, str) else content
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        number = sum(map(len, self._versions.values())) + 1
        version = f"v{number}" if self.keeps_versions else None
        self._versions[key].append((etag, Stored(version, len(data), data, language)))
        return Upload(
            place=Place(BUCKET, key),
            version_id=version,
            etag=etag,
            sequencer=f"{number:016X}",
            size=len(data),
            uploaded_at=self.clock().replace(microsecond=0),
            requester="ada",
        )

    def remove(self, key: str) -> None:
        """For good, all versions."""
        del self._versions[key]

    def find(self, place: Place) -> Stored | None:
        self._around(self.before, "find")
        versions = self._versions.get(place.key)
        return versions[-1][1] if versions else None

    def read(self, upload: Upload) -> Stored | None:
        self._around(self.before, "read")
        versions = self._versions.get(upload.place.key, [])
        if upload.version_id is None:
            versions = versions[-1:]
        return next(
            (
                stored
                for etag, stored in versions
                if (stored.version_id, etag) == (upload.version_id, upload.etag)
            ),
            None,
        )

    def read_text(self, bucket: str, key: str) -> Text | None:
        self._around(self.before, "read_text")
        return self._standing(key) if bucket == BUCKET else None

    def write_text(self, bucket: str, key: str, text: str, over: Text | None) -> bool:
        assert bucket == BUCKET
        self._around(self.before, "write_text")
        standing = self._standing(key)
        if (standing and standing.etag) != (over and over.etag):
            return False
        self.put(key, text)
        self.written.append(key)
        self._around(self.after, "write_text")
        return True

    def _standing(self, key: str) -> Text | None:
        versions = self._versions.get(key)
        return Text(versions[-1][1].content.decode(), versions[-1][0]) if versions else None

    @staticmethod
    def _around(hooks: dict[str, Callable[[], object]], call: str) -> None:
        if hook := hooks.get(call):
            hook()
