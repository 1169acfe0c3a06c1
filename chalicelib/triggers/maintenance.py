"""Functions that are invoked by hand; docs/table.md says when."""

from __future__ import annotations

from typing import Any

from chalice.app import Blueprint

from chalicelib.bootstrap import container

bp = Blueprint(__name__)


@bp.lambda_function(name="recount")
def recount(event: dict[str, Any], context: Any) -> dict[str, int]:  # noqa: ARG001 (Lambda's signature)
    """Put a tenant's totals right: `{"tenant": "acme"}`; `{"tenant": null}` those over all tenants."""
    return dict(container().store.recount(event["tenant"]))
