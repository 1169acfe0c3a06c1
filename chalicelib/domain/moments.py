"""Moments as callers read them."""

from __future__ import annotations

from datetime import UTC, datetime


def timestamp(moment: datetime | None) -> str | None:
    """`2026-01-26T10:00:00Z`."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")[:-6] + "Z" if moment else None
