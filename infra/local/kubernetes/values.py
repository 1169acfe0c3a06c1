"""Quantities, times and names: the small values that every other module reads and writes."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta
from decimal import Decimal

_QUANTITY = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei|u|n|[eE][+-]?\d+)?$")
_SUFFIX = {"n": Decimal(10) ** -9, "u": Decimal(10) ** -6, "m": Decimal(10) ** -3}
_SUFFIX |= {s: Decimal(1000) ** (i + 1) for i, s in enumerate(["k", "M", "G", "T", "P", "E"])}
_SUFFIX |= {s + "i": Decimal(1024) ** (i + 1) for i, s in enumerate(["K", "M", "G", "T", "P", "E"])}
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def quantity(value: object) -> Decimal:
    """Raises ValueError for what is not a quantity."""
    found = _QUANTITY.match(str(value))
    if not found:
        raise ValueError(f"not a quantity: {value}")
    number, suffix = Decimal(found[1]), found[2] or ""
    if suffix[:1] in ("e", "E") and suffix[1:2] not in ("", "i"):
        return number * Decimal(10) ** int(suffix[1:])
    return number * _SUFFIX.get(suffix, Decimal(1))


def random_suffix(length: int = 5) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def now() -> datetime:
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """RFC 3339, with any number of fractional digits."""
    found = re.match(r"^(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)$", text)
    if not found:
        raise ValueError(f"not a time: {text}")
    moment = datetime.fromisoformat(found[1] + found[3].upper().replace("Z", "+00:00"))
    return moment + timedelta(microseconds=int(((found[2] or "0") + "000000")[:6]))


def age(since: str | None, until: str | None = None) -> str:
    """A duration as kubectl shows it."""
    if not since:
        return "<unknown>"
    end = parse_time(until) if until else now()
    total = max(0, int((end - parse_time(since)).total_seconds()))
    days, hours, minutes, seconds = total // 86400, total // 3600, total // 60, total
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    return f"{days}d{hours % 24}h" if days < 8 and hours % 24 else f"{days}d"
