"""The embedded stack's own issuer: a key pair under `.trainyard/keys`, its JWKS, and the tokens it signs.

python -m infra.local.tokens --tenant acme --roles member [--ttl 3600]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from infra.local import config
from infra.local.config import AUDIENCE, ISSUER, Local

ROLES = ("viewer", "member", "admin")
DEFAULT_TTL_SECONDS = 3600
MAX_TTL_SECONDS = 366 * 24 * 3600
# What a Kubernetes namespace `trainyard-{tenant}` can hold.
_TENANT = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class BadToken(ValueError):
    """No token can be made of what was asked for."""


def token(local: Local, tenant: str, roles: Sequence[str], ttl_seconds: int = DEFAULT_TTL_SECONDS) -> str:
    """Sign a token; the key pair is made at the first call. Raises BadToken."""
    if not _TENANT.fullmatch(tenant):
        raise BadToken(f"tenant {tenant!r}: 1 to 40 of a-z, 0-9 and '-' (not first or last) are allowed")
    if not roles or (unknown := [role for role in roles if role not in ROLES]):
        raise BadToken(f"roles {','.join(unknown) if roles else ''!r}: {', '.join(ROLES)} are allowed")
    if not 0 < ttl_seconds <= MAX_TTL_SECONDS:
        raise BadToken(f"ttl {ttl_seconds}: 1 to {MAX_TTL_SECONDS} seconds are allowed")
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": f"{tenant}-local",
        "iat": now,
        "nbf": now,
        "exp": now + ttl_seconds,
        "tenant": tenant,
        "roles": list(roles),
    }
    private, key_id = _key(local)
    return jwt.encode(claims, private, algorithm="ES256", headers={"kid": key_id})


def ensure_keys(local: Local) -> None:
    """Make the key pair and its JWKS unless they are there."""
    _key(local)


def terminal_secret(local: Local) -> str:
    """What signs the tickets of terminals; made at the first call."""
    file = local.keys / "terminal-secret"
    local.keys.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        _publish_once(file, secrets.token_urlsafe(48).encode())
    return file.read_text()


def _key(local: Local) -> tuple[ec.EllipticCurvePrivateKey, str]:
    file = local.keys / "private.pem"
    local.keys.mkdir(parents=True, exist_ok=True)
    local.keys.chmod(0o700)
    if not file.exists():
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        _publish_once(file, pem)
    loaded = serialization.load_pem_private_key(file.read_bytes(), password=None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    public: dict[str, Any] = json.loads(ECAlgorithm.to_jwk(loaded.public_key()))
    key_id = f"local-{public['x'][:8]}"
    jwks = json.dumps({"keys": [public | {"kid": key_id, "use": "sig", "alg": "ES256"}]})
    if not local.jwks_file.exists() or local.jwks_file.read_text() != jwks:
        _write_private(local.jwks_file, jwks.encode())
    return loaded, key_id


def _publish_once(file: Path, content: bytes) -> None:
    """Two first calls at the same time agree on one key: the second one's link fails."""
    temporary = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    _write_private(temporary, content)
    try:
        os.link(temporary, file)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _write_private(file: Path, content: bytes) -> None:
    temporary = file.with_name(f"{file.name}.{secrets.token_hex(4)}.tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as output:
        output.write(content)
    temporary.replace(file)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        print(f"token: {message}", file=sys.stderr)
        raise SystemExit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _Parser(prog="token", description="Print a token for the embedded stack.")
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--roles", default="member", help=f"comma-separated: {', '.join(ROLES)}")
    parser.add_argument("--ttl", type=int, default=DEFAULT_TTL_SECONDS, help="seconds")
    given = parser.parse_args(arguments)
    try:
        roles = [role.strip() for role in given.roles.split(",") if role.strip()]
        print(token(config.load(), given.tenant, roles, given.ttl))
    except (BadToken, config.BadConfig, OSError) as error:
        print(f"token: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
