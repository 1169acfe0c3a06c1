"""Which tokens name a caller, which do not and why, and where the keys come from."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import warnings
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from chalicelib.api.jwks import KeysUnavailable, fetch_jwks
from chalicelib.api.tokens import LEEWAY_SECONDS, MAX_TOKEN_CHARS, TokenVerifier
from chalicelib.errors import NotAuthenticated, Retryable
from chalicelib.services.caller import Caller, Role
from chalicelib.settings import Settings, load
from tests.builders import NOW

SECONDS = int(NOW.timestamp())
EC_KEY = ec.generate_private_key(ec.SECP256R1())
EC_OTHER = ec.generate_private_key(ec.SECP256R1())
EC_384 = ec.generate_private_key(ec.SECP384R1())
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RSA_SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)

CLAIMS: dict[str, Any] = {
    "iss": "trainyard",
    "aud": "trainyard",
    "sub": "ada",
    "iat": SECONDS,
    "nbf": SECONDS,
    "exp": SECONDS + 60,
    "tenant": "acme",
    "roles": ["member"],
}


def jwk(key: Any, key_id: str, **more: Any) -> dict[str, Any]:
    algorithm = ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else RSAAlgorithm
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": key_id, **more}


KEYS = [
    jwk(EC_KEY, "ec", use="sig", alg="ES256"),
    jwk(RSA_KEY, "rsa"),
    jwk(RSA_SHORT, "short"),
    jwk(EC_384, "p384"),
    jwk(RSA_KEY, "for-encryption", use="enc"),
    jwk(RSA_KEY, "pss", alg="PS256"),
    {"kty": "oct", "k": "c2VjcmV0", "kid": "secret", "alg": "HS256"},
    {"kty": "RSA", "kid": "no-modulus"},
    {"kty": "EC", "crv": "P-256", "x": "!!", "y": 7, "kid": "broken"},
    {"kid": "nothing"},
    jwk(EC_OTHER, "no-id") | {"kid": 7},
    "not a key",
]


@dataclass
class Host:
    """A JWKS that can change and fail, and a clock that can be set."""

    keys: list[Any] = field(default_factory=lambda: list(KEYS))
    raw: bytes | None = None
    down: bool = False
    fetched: int = 0
    now: datetime = NOW

    def fetch(self, url: str) -> bytes:
        assert url == "https://issuer.example/jwks.json"
        self.fetched += 1
        if self.down:
            raise OSError("connection refused")
        return json.dumps({"keys": self.keys}).encode() if self.raw is None else self.raw

    def clock(self) -> datetime:
        return self.now

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def verifier(self, settings: Settings | None = None) -> TokenVerifier:
        return TokenVerifier(settings or SETTINGS, self.clock, self.fetch)


SETTINGS: Settings = replace(load({}), jwks_url="https://issuer.example/jwks.json", jwks_cache_seconds=300)


def sign(key: Any = EC_KEY, key_id: Any = "ec", alg: str = "ES256", header: Any = None, **claims: Any) -> str:
    """A token; a claim given as None is left out."""
    merged = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    headers = {"kid": key_id, **(header or {})}
    kept = {name: value for name, value in headers.items() if value is not None}
    # Not jwt.encode: it will not sign what a careless issuer might.
    with warnings.catch_warnings(action="ignore"):  # a key too short is one of the cases
        return jwt.PyJWS().encode(json.dumps(merged).encode(), key, alg, kept)


def forge(header: Any, claims: Any = CLAIMS, secret: bytes | None = None) -> str:
    """A token put together by hand, signed by HMAC or not at all."""

    def encoded(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    signed = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest() if secret else b""
    return f"{signed}.{encoded(signature)}"


PUBLIC_PEM = RSA_KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
HS256 = {"alg": "HS256", "typ": "JWT", "kid": "rsa"}

# (id, token, a word of the reason)
REFUSED = [
    ("empty", "", "JWT"),
    ("not a JWT", "abc", "JWT"),
    ("two parts", "abc.def", "JWT"),
    ("header not JSON", "abc.def.ghi", "JWT"),
    ("not ASCII", "é.é.é", "JWT"),
    ("a lone surrogate", "\ud800", "JWT"),
    ("header a list", forge([]), "JWT"),
    ("too long", "x" * (MAX_TOKEN_CHARS + 1), "characters"),
    ("alg none", forge({"alg": "none", "kid": "rsa"}), "algorithm"),
    ("alg missing", forge({"kid": "rsa"}), "algorithm"),
    ("alg a list", forge({"alg": ["RS256"], "kid": "rsa"}), "algorithm"),
    ("HS256 with the public key", forge(HS256, secret=PUBLIC_PEM), "algorithm"),
    ("HS256 with a key of the JWKS", forge(HS256 | {"kid": "secret"}, secret=b"secret"), "algorithm"),
    ("RS384", sign(RSA_KEY, "rsa", "RS384"), "algorithm"),
    ("PS256", sign(RSA_KEY, "rsa", "PS256"), "algorithm"),
    ("ES384", sign(EC_384, "p384", "ES384"), "algorithm"),
    ("no kid", sign(key_id=None), "kid"),
    ("kid a number", forge({"alg": "ES256", "kid": 7}), "JWT|kid"),
    ("kid unknown", sign(key_id="other"), "kid"),
    ("kid of an encryption key", sign(RSA_KEY, "for-encryption", "RS256"), "kid"),
    ("kid of a PSS key", sign(RSA_KEY, "pss", "RS256"), "kid"),
    ("kid of another curve", forge({"alg": "ES256", "kid": "p384"}), "kid"),
    ("kid of a broken key", forge({"alg": "ES256", "kid": "broken"}), "kid"),
    ("RS256 for an EC key", sign(RSA_KEY, "ec", "RS256"), "algorithm"),
    ("ES256 for an RSA key", sign(EC_KEY, "rsa"), "algorithm"),
    ("a key of 1024 bits", sign(RSA_SHORT, "short", "RS256"), "valid"),
    ("signed by another key", sign(EC_OTHER), "signature"),
    ("signature cut", sign()[:-4], "signature|JWT"),
    ("signature left out", sign().rpartition(".")[0] + ".", "signature|valid"),
    ("claims swapped", sign().replace(sign().split(".")[1], sign(tenant="rival").split(".")[1]), "signature"),
    ("critical extension", sign(header={"crit": ["x"], "x": 1}), "JWT|valid"),
    ("wrong issuer", sign(iss="https://evil.example"), "issuer"),
    ("issuer in a list", sign(iss=["trainyard"]), "issuer|iss"),
    ("no issuer", sign(iss=None), "iss"),
    ("wrong audience", sign(aud="other"), "audience"),
    ("audience of others", sign(aud=["a", "b"]), "audience"),
    ("no audience", sign(aud=None), "aud"),
    ("no expiry", sign(exp=None), "exp"),
    ("expired", sign(exp=SECONDS - LEEWAY_SECONDS), "exp"),
    ("expiry a string", sign(exp="tomorrow"), "exp"),
    ("expiry true", sign(exp=True), "exp"),
    ("expiry huge", sign(exp=10**400), "exp"),
    ("expiry infinite", sign(exp=float("inf")), "exp"),
    ("expiry not a number", sign(exp=float("nan")), "exp"),
    ("not before later", sign(nbf=SECONDS + LEEWAY_SECONDS + 1), "nbf"),
    ("not before a list", sign(nbf=[1]), "nbf"),
    ("issued later", sign(iat=SECONDS + LEEWAY_SECONDS + 1), "iat"),
    ("issued a string", sign(iat="now"), "iat"),
    ("no subject", sign(sub=None), "sub"),
    ("subject empty", sign(sub=""), "sub"),
    ("subject with a line break", sign(sub="ada\n"), "sub"),
    ("no tenant", sign(tenant=None), "tenant"),
    ("tenant empty", sign(tenant=""), "tenant"),
    ("tenant in capitals", sign(tenant="Acme"), "tenant"),
    ("tenant begins with a dash", sign(tenant="-acme"), "tenant"),
    ("tenant ends with a dash", sign(tenant="acme-"), "tenant"),
    ("tenant with a dot", sign(tenant="acme.x"), "tenant"),
    ("tenant with a line break", sign(tenant="acme\n"), "tenant"),
    ("tenant of 41", sign(tenant="a" * 41), "tenant"),
    ("tenant a list", sign(tenant=["acme"]), "tenant"),
    ("tenant the admins' index", sign(tenant="*"), "tenant"),
    ("no roles", sign(roles=None), "roles"),
    ("roles empty", sign(roles=[]), "roles"),
    ("roles unknown", sign(roles=["root"]), "roles"),
    ("roles a string", sign(roles="admin"), "roles"),
    ("roles an object", sign(roles={"admin": True}), "roles"),
    ("roles of other types", sign(roles=[["admin"], 1, None]), "roles"),
]

TAKEN: list[tuple[str, str, Caller]] = [
    ("ES256", sign(), Caller("acme", "ada", frozenset({Role.MEMBER}))),
    ("RS256", sign(RSA_KEY, "rsa", "RS256"), Caller("acme", "ada", frozenset({Role.MEMBER}))),
    (
        "several roles",
        sign(roles=["viewer", "admin", "x"]),
        Caller("acme", "ada", frozenset({Role.VIEWER, Role.ADMIN})),
    ),
    ("several audiences", sign(aud=["other", "trainyard"]), Caller("acme", "ada", frozenset({Role.MEMBER}))),
    ("no iat and no nbf", sign(iat=None, nbf=None), Caller("acme", "ada", frozenset({Role.MEMBER}))),
    ("expired within the leeway", sign(exp=SECONDS - 29), Caller("acme", "ada", frozenset({Role.MEMBER}))),
    ("not before within the leeway", sign(nbf=SECONDS + 29), Caller("acme", "ada", frozenset({Role.MEMBER}))),
    ("times with fractions", sign(exp=SECONDS + 0.5), Caller("acme", "ada", frozenset({Role.MEMBER}))),
    ("tenant of 40", sign(tenant="a" * 40), Caller("a" * 40, "ada", frozenset({Role.MEMBER}))),
    ("tenant of 1", sign(tenant="7"), Caller("7", "ada", frozenset({Role.MEMBER}))),
]


@pytest.mark.parametrize(
    ("token", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_wrong_token_is_refused_and_the_failed_check_is_named(token: str, words: str) -> None:
    with pytest.raises(NotAuthenticated, match=words) as refused:
        Host().verifier().verify(token)
    assert len(token) < 10 or token not in str(refused.value)


@pytest.mark.parametrize(("token", "caller"), [case[1:] for case in TAKEN], ids=[case[0] for case in TAKEN])
def test_a_right_token_names_its_caller(token: str, caller: Caller) -> None:
    assert Host().verifier().verify(token) == caller


POOL = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI"
CLIENT = "1h57kf5cpq17m0eml12EXAMPLE"
COGNITO = replace(
    SETTINGS,
    jwt_issuer=POOL,
    jwt_audience=CLIENT,
    tenant_claim="custom:tenant",
    roles_claim="cognito:groups",
)


def id_token(**claims: Any) -> str:
    """What Cognito's documents show, of a member; a claim given as None is left out."""
    shown = {
        "iss": POOL,
        "aud": CLIENT,
        "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        "nbf": None,
        "tenant": None,
        "roles": None,
        "token_use": "id",
        "auth_time": SECONDS,
        "cognito:username": "ada",
        "cognito:groups": ["member"],
        "custom:tenant": "acme",
    }
    return sign(RSA_KEY, "rsa", "RS256", **(shown | claims))


def access_token(**claims: Any) -> str:
    """It names its client otherwise, and no attributes of the user."""
    shown = {"token_use": "access", "aud": None, "client_id": CLIENT, "custom:tenant": None}
    return id_token(**(shown | {"scope": "aws.cognito.signin.user.admin", "username": "ada"} | claims))


OF_A_POOL_REFUSED = [
    ("an access token", access_token(), '"aud"'),
    ("an access token of a pool that adds an audience", access_token(aud=CLIENT), "'custom:tenant'"),
    ("another client's", id_token(aud="another"), "audience"),
    ("another pool's", id_token(iss=f"{POOL}x"), "issuer"),
    ("no tenant", id_token(**{"custom:tenant": None}), "no claim 'custom:tenant'"),
    ("a tenant under another name", id_token(tenant="acme", **{"custom:tenant": None}), "'custom:tenant'"),
    ("in no group", id_token(**{"cognito:groups": None}), "no claim 'cognito:groups'"),
    ("in other groups", id_token(**{"cognito:groups": ["Admin", "eu-west-1_x_Google"]}), "'cognito:groups'"),
    ("roles under another name", id_token(roles=["admin"], **{"cognito:groups": None}), "'cognito:groups'"),
]


@pytest.mark.parametrize(
    ("token", "words"), [case[1:] for case in OF_A_POOL_REFUSED], ids=[case[0] for case in OF_A_POOL_REFUSED]
)
def test_a_user_pools_token_that_is_not_for_us_or_says_too_little_is_refused(token: str, words: str) -> None:
    with pytest.raises(NotAuthenticated, match=words):
        Host().verifier(COGNITO).verify(token)


def test_a_user_pools_id_token_names_its_caller_by_the_names_of_its_claims() -> None:
    token = id_token(roles=["admin"], tenant="rival", **{"cognito:groups": ["member", "staff"]})
    caller = Caller("acme", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", frozenset({Role.MEMBER}))
    assert Host().verifier(COGNITO).verify(token) == caller


def test_keys_are_fetched_once_for_as_long_as_they_are_cached() -> None:
    host = Host()
    verifier = host.verifier()
    for _ in range(3):
        verifier.verify(sign())
    assert host.fetched == 1
    host.later(299)
    verifier.verify(sign(exp=SECONDS + 9999))
    assert host.fetched == 1
    host.later(1)
    verifier.verify(sign(exp=SECONDS + 9999))
    assert host.fetched == 2


def test_a_rotated_key_works_at_once_and_its_predecessor_no_longer() -> None:
    host = Host()
    verifier = host.verifier()
    verifier.verify(sign())
    host.later(11)
    host.keys = [jwk(EC_OTHER, "new")]
    verifier.verify(sign(EC_OTHER, "new"))
    with pytest.raises(NotAuthenticated, match="kid"):
        verifier.verify(sign())


def test_unknown_key_ids_do_not_hammer_the_issuer() -> None:
    host = Host()
    verifier = host.verifier()
    for number in range(50):
        with pytest.raises(NotAuthenticated):
            verifier.verify(sign(key_id=f"made-up-{number}"))
    assert host.fetched == 1
    host.later(10)
    with pytest.raises(NotAuthenticated):
        verifier.verify(sign(key_id="made-up"))
    assert host.fetched == 2


@pytest.mark.parametrize("raw", [None, b"<html>", b"[]", b'{"keys": {}}', b"\xff", b"null"])
def test_known_keys_outlive_an_outage_of_the_issuer(raw: bytes | None) -> None:
    host = Host()
    verifier = host.verifier()
    verifier.verify(sign())
    host.later(301)
    host.down, host.raw = raw is None, raw
    for _ in range(5):
        verifier.verify(sign(exp=SECONDS + 9999))
    assert host.fetched == 2, "a dead host is not asked for each request"
    host.down, host.raw, host.keys = False, None, [jwk(EC_OTHER, "new")]
    host.later(10)
    verifier.verify(sign(EC_OTHER, "new", exp=SECONDS + 9999))


def test_without_any_keys_it_is_an_outage_and_nobodys_fault() -> None:
    host = Host(down=True)
    verifier = host.verifier()
    for _ in range(3):
        with pytest.raises(KeysUnavailable) as outage:
            verifier.verify(sign())
    assert isinstance(outage.value, Retryable) and host.fetched == 1
    host.down = False
    host.later(10)
    verifier.verify(sign())


def test_a_clock_that_was_set_back_does_not_keep_old_keys_for_ever() -> None:
    host = Host()
    verifier = host.verifier()
    verifier.verify(sign())
    host.later(-3600)
    verifier.verify(sign(iat=None, nbf=None))
    assert host.fetched == 2


def test_an_empty_key_set_is_obeyed() -> None:
    host = Host(keys=[])
    with pytest.raises(NotAuthenticated, match="kid"):
        host.verifier().verify(sign())


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "with space.json"
    file.write_text(json.dumps({"keys": KEYS}))
    settings = replace(SETTINGS, jwks_url=file.as_uri())
    assert TokenVerifier(settings, lambda: NOW).verify(sign()).tenant == "acme"


@pytest.mark.parametrize("url", ["http://issuer.example/jwks.json", "ftp://x/y", "data:,{}", "", "issuer"])
def test_other_urls_are_not_read(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        fetch_jwks(url)


def test_a_missing_file_is_an_outage(tmp_path: Path) -> None:
    settings = replace(SETTINGS, jwks_url=(tmp_path / "none.json").as_uri())
    with pytest.raises(KeysUnavailable):
        TokenVerifier(settings, lambda: NOW).verify(sign())
