"""Moments as callers read them."""

from __future__ import annotations

from datetime import UTC, datetime


def timestamp(moment: datetime | None) -> str | None:
    """`2026-01-26T10:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
