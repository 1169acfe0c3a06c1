"""The status file beside each job file: what became of it, kept up to date until its jobs have ended."""

from __future__ import annotations

import json

from chalicelib.domain.uploads import Place, Receipt, status_of
from chalicelib.errors import ObjectsUnavailable
from chalicelib.services.object_ports import Objects
from chalicelib.services.ports import JobStore

WRITES = 10  # of one file in a row, while others write it too


class StatusFiles:
    """Keeps what came of uploads, and writes it beside them; `api_url` is what its links begin with."""

    def __init__(self, store: JobStore, objects: Objects, api_url: str) -> None:
        self._store = store
        self._objects = objects
        self._api_url = api_url

    def known(self, place: Place) -> Receipt | None:
        """What came of the newest upload there."""
        return self._store.upload(place)

    def keep(self, receipt: Receipt) -> None:
        """Remember what came of an upload, unless a newer one of the same status file is known."""
        self._store.save_upload(receipt)

    def follow(self, place: Place) -> None:
        """Bring the status file in step with the jobs: it is read before they are, and only what was read is
        written over, so that of several who write it the last one leaves it right. Raises Retryable."""
        for _ in range(WRITES):
            standing = self._objects.read_text(place.bucket, place.status_key)
            receipt = self._store.upload(place)
            if receipt is None:
                return  # its jobs are only just being created; who does that writes the file
            wanted = self._text(receipt)
            if standing is not None and standing.content == wanted:
                return
            if self._objects.write_text(place.bucket, place.status_key, wanted, standing):
                return
        raise ObjectsUnavailable(f"{place.status_key} kept changing while it was written")

    def _text(self, receipt: Receipt) -> str:
        ids = [entry.job_id for entry in receipt.entries if entry.job_id]
        status = status_of(receipt, self._store.get_many(ids), self._api_url)
        return json.dumps(status, ensure_ascii=False, indent=1) + "\n"
