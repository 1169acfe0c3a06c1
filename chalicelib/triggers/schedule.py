"""The sync λ: started by a rule once a minute, and by a kick when work appears."""

from __future__ import annotations

from typing import Any

from chalice.app import Blueprint, CloudWatchEvent, Rate

from chalicelib.bootstrap import container

bp = Blueprint(__name__)

WHOLE_EVERY_MINUTES = 5


@bp.schedule(Rate(1, unit=Rate.MINUTES), name="sync")
def sync(event: CloudWatchEvent) -> dict[str, int]:
    """Pass until just before the function's time is up; every five minutes look for strays even when idle."""
    context: Any = event.context  # Chalice types it as a dict; it is Lambda's context object
    minute = event.time[14:16]  # a kick has none
    passes = container().sync.run(
        lambda: context.get_remaining_time_in_millis() / 1000,
        whole=minute.isdigit() and int(minute) % WHOLE_EVERY_MINUTES == 0,
        patient=minute.isdigit(),
    )
    return {"passes": passes}
