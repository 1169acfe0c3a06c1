"""The gate in front of every route: API Gateway asks this function about each bearer token.

The verifier, and the cryptography it needs, are loaded by the container on first use: the api function
imports this module for the routes' sake and never pays for them.
"""

from __future__ import annotations

import logging

from chalice.app import AuthRequest, AuthResponse, Blueprint

from chalicelib.bootstrap import container
from chalicelib.errors import NotAuthenticated

# API Gateway keeps an answer this long for the same header: a token may outlive its expiry by as much.
TTL_SECONDS = 60

bp = Blueprint(__name__)
log = logging.getLogger(__name__)


@bp.authorizer(ttl_seconds=TTL_SECONDS)
def authorizer(request: AuthRequest) -> AuthResponse:
    """Allow every route for a good token: what its roles allow is the services' business."""
    try:
        caller = container().tokens.verify(bearer(request.token))
    except NotAuthenticated as error:
        log.info("token refused: %s", error)
        raise Exception("Unauthorized") from error  # API Gateway answers 401 to exactly this message
    context = {"tenant": caller.tenant, "roles": ",".join(sorted(caller.roles))}
    return AuthResponse(routes=["*"], principal_id=caller.subject, context=context)


def bearer(header: str) -> str:
    """The token of an `Authorization: Bearer …` header."""
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise NotAuthenticated("the Authorization header is not 'Bearer <token>'")
    return token.strip()
