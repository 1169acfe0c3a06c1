"""Bearer tokens: signed JWTs whose claims name a tenant, a subject and roles. Issuers name those claims
differently: the settings say how.

PyJWT checks signature, issuer and audience. The times are checked here, because PyJWT reads the wall clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt
from jwt.exceptions import InvalidAudienceError, InvalidIssuerError, InvalidSignatureError, PyJWTError

from chalicelib.api.jwks import Fetch, Keys, fetch_jwks
from chalicelib.errors import NotAuthenticated
from chalicelib.services.caller import Caller, Role, is_tenant
from chalicelib.services.ports import Clock
from chalicelib.settings import Settings

ALGORITHMS = ("RS256", "ES256")
LEEWAY_SECONDS = 30
MAX_TOKEN_CHARS = 8192
_OPTIONS: Any = {
    "require": ["exp", "iss", "aud", "sub"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "enforce_minimum_key_length": True,
}
_WORDS: Mapping[type[Exception], str] = {
    InvalidSignatureError: "the signature does not verify",
    InvalidIssuerError: "the issuer is not ours",
    InvalidAudienceError: "the audience is not ours",
}


class TokenVerifier:
    """Turns a token into the caller it names."""

    def __init__(self, settings: Settings, clock: Clock, fetch: Fetch = fetch_jwks) -> None:
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._tenant_claim = settings.tenant_claim
        self._roles_claim = settings.roles_claim
        self._clock = clock
        self._keys = Keys(settings.jwks_url, settings.jwks_cache_seconds, clock, fetch)

    def verify(self, token: str) -> Caller:
        """The caller. Raises NotAuthenticated, which says what is wrong, and Retryable without any keys."""
        claims = self._signed_claims(token)
        self._check_times(claims)
        return Caller(
            _tenant(claims, self._tenant_claim), _subject(claims), _roles(claims, self._roles_claim)
        )

    def _signed_claims(self, token: str) -> Mapping[str, Any]:
        if len(token) > MAX_TOKEN_CHARS:
            raise NotAuthenticated(f"the token has more than {MAX_TOKEN_CHARS} characters")
        try:
            header = jwt.get_unverified_header(token)
        except (PyJWTError, ValueError, RecursionError) as error:
            raise NotAuthenticated("the token is not a JWT") from error
        if header.get("alg") not in ALGORITHMS:
            raise NotAuthenticated(f"the algorithm is not one of {', '.join(ALGORITHMS)}")
        if not isinstance(header.get("kid"), str):
            raise NotAuthenticated("the token names no key (kid)")
        key = self._keys.find(header["kid"])
        if key is None:
            raise NotAuthenticated("the token's key (kid) is not known")
        if key.algorithm_name != header["alg"]:
            raise NotAuthenticated("the algorithm is not that of the key")
        return self._decoded(token, key)

    def _decoded(self, token: str, key: jwt.PyJWK) -> Mapping[str, Any]:
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                issuer=self._issuer,
                audience=self._audience,
                options=_OPTIONS,
            )
        except (PyJWTError, ValueError, RecursionError) as error:
            raise NotAuthenticated(_WORDS.get(type(error), f"the token is not valid ({error})")) from error
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock().timestamp()
        if now >= _seconds(claims, "exp") + LEEWAY_SECONDS:
            raise NotAuthenticated("the token has expired (exp)")
        for claim, words in (("nbf", "is not valid yet"), ("iat", "was issued in the future")):
            if claim in claims and now < _seconds(claims, claim) - LEEWAY_SECONDS:
                raise NotAuthenticated(f"the token {words} ({claim})")


def _seconds(claims: Mapping[str, Any], claim: str) -> float:
    value = claims[claim]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**53:
        raise NotAuthenticated(f"the claim {claim!r} is not a number of seconds")
    return value


def _tenant(claims: Mapping[str, Any], claim: str) -> str:
    tenant = _claim(claims, claim)
    if not isinstance(tenant, str) or not is_tenant(tenant):
        raise NotAuthenticated(f"the claim {claim!r} is not a DNS label of at most 40 characters")
    return tenant


def _subject(claims: Mapping[str, Any]) -> str:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 1 <= len(subject) <= 256 or not subject.isprintable():
        raise NotAuthenticated("the claim 'sub' is not a printable string of 1 to 256 characters")
    return subject


def _roles(claims: Mapping[str, Any], claim: str) -> frozenset[Role]:
    given = _claim(claims, claim)
    if not isinstance(given, list):
        raise NotAuthenticated(f"the claim {claim!r} is not a list")
    roles = frozenset(role for role in Role if role in given)
    if not roles:
        raise NotAuthenticated(f"the claim {claim!r} has none of {', '.join(Role)}")
    return roles


def _claim(claims: Mapping[str, Any], claim: str) -> Any:
    if claim not in claims:
        raise NotAuthenticated(f"the token has no claim {claim!r}")
    return claims[claim]
