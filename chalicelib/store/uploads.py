"""What came of uploaded job files: one item for each status file, about the newest upload that it tells of.

Nothing here needs the outbox, whose filter lets only jobs' records through.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from chalicelib.domain.uploads import Entry, Place, Receipt, Upload
from chalicelib.services.ports import UPLOAD_KEPT
from chalicelib.store import conditions
from chalicelib.store.items import Item
from chalicelib.store.keys import upload_key
from chalicelib.store.table import ConditionFailed, Table

_UPLOAD = tuple(field.name for field in fields(Upload) if field.name not in ("place", "uploaded_at"))


class Uploads:
    """The receipts of a table; each is kept as long as its keys are."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def find(self, place: Place) -> Receipt | None:
        item = self._table.get(_key(place))
        return None if item is None else _from_item(item)

    def save(self, receipt: Receipt) -> bool:
        """False when a newer upload's stands there, which is then what the status file tells of."""
        item = _to_item(receipt)
        try:
            self._table.put(item, conditions.NOT_OLDER_UPLOAD, {":ordinal": item["ordinal"]})
        except ConditionFailed:
            return False
        return True


def _key(place: Place) -> Mapping[str, Mapping[str, str]]:
    return upload_key(place.bucket, place.status_key)


def _to_item(receipt: Receipt) -> Item:
    upload = receipt.upload
    document: dict[str, Any] = {name: getattr(upload, name) for name in _UPLOAD}
    document |= {"key": upload.place.key, "uploaded_at": upload.uploaded_at.isoformat()}
    document["entries"] = [
        {name: value for name, value in asdict(entry).items() if value is not None}
        for entry in receipt.entries
    ]
    document |= {"errors": list(receipt.errors), "error_count": receipt.error_count}
    return {
        **_key(upload.place),
        "ordinal": {"S": upload.ordinal},
        "document": {"S": json.dumps(document)},  # escaped: what files say may not be UTF-8
        "bucket": {"S": upload.place.bucket},
        "expires_at": {"N": str(int((upload.uploaded_at + UPLOAD_KEPT).timestamp()))},
    }


def _from_item(item: Item) -> Receipt:
    document = json.loads(item["document"]["S"])
    upload = Upload(
        place=Place(item["bucket"]["S"], document["key"]),
        uploaded_at=datetime.fromisoformat(document["uploaded_at"]),
        **{name: document[name] for name in _UPLOAD},
    )
    entries = [Entry(**{"line": None, **entry}) for entry in document["entries"]]
    return Receipt(
        upload=upload, entries=entries, errors=document["errors"], error_count=document["error_count"]
    )
