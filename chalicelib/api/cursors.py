"""Cursors of one job's lists: opaque to callers, fit for a URL, and of no use for anything but that job.

What a cursor names is the caller's to read anyway: its digest tells a slip of the hand from a cursor, and
keeps no secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from chalicelib.errors import FieldError, InvalidRequest

DIGEST_BYTES = 9


def to_cursor(job_id: str, position: str | None) -> str | None:
    """The cursor of a position in a list of the job; none where the list ends."""
    if position is None:
        return None
    digest = hashlib.sha256(f"{job_id} {position}".encode()).digest()[:DIGEST_BYTES]
    return base64.urlsafe_b64encode(digest + position.encode()).decode().rstrip("=")


def from_cursor(job_id: str, cursor: str | None, field: str = "cursor") -> str | None:
    """The position. Raises InvalidRequest for what is no cursor, or another job's."""
    if cursor is None:
        return None
    try:
        whole = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        position = whole[DIGEST_BYTES:].decode()
    except (binascii.Error, ValueError):
        position = ""
    if not position or to_cursor(job_id, position) != cursor:
        raise InvalidRequest([FieldError(field, "cursor", cursor)])
    return position
