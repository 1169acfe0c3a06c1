"""The sync λ: started by a rule once a minute, and by a kick when work appears."""

from __future__ import annotations

from typing import Any

from chalice.app import Blueprint, CloudWatchEvent, Rate

from chalicelib.bootstrap import container

bp = Blueprint(__name__)


@bp.schedule(Rate(1, unit=Rate.MINUTES), name="sync")
def sync(event: CloudWatchEvent) -> dict[str, int]:
    """Pass until just before the function's time is up; at the full hour look for strays even when idle."""
    context: Any = event.context  # Chalice types it as a dict; it is Lambda's context object
    at = event.time
    passes = container().sync.run(
        lambda: context.get_remaining_time_in_millis() / 1000, whole=at[14:16] == "00"
    )
    return {"passes": passes}
