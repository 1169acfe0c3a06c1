"""Keys, users and their kubeconfigs, made once and kept, so that clients still trust a restarted cluster."""

from __future__ import annotations

import csv
import io
import json
import secrets
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

ADMIN, ADMINS = "kubernetes-admin", "system:masters"


@dataclass(frozen=True)
class User:
    name: str
    groups: frozenset[str]


class Pki:
    """The files of one cluster: CA, server and admin certificates; tokens.csv is token,user,uid,groups."""

    def __init__(self, directory: Path) -> None:
        self._dir = directory
        self._tokens = directory / "tokens.csv"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._tokens.exists():
            self._create()
        self._users: dict[str, User] = {}
        with self._tokens.open(newline="") as file:
            for token, name, _, groups in csv.reader(file):
                self._users[token] = User(name, frozenset(filter(None, groups.split(","))))

    def server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self._dir / "ca.crt"))
        context.load_cert_chain(self._dir / "server.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def user_of(self, certificate: Any, authorization: str) -> User | None:
        """Whom a client certificate (CN and O) or else a bearer token stands for."""
        if certificate:
            parts = [pair for rdn in certificate["subject"] for pair in rdn]
            name = next((value for key, value in parts if key == "commonName"), "")
            groups = frozenset(value for key, value in parts if key == "organizationName")
            return User(name, groups) if name else None
        scheme, _, token = authorization.partition(" ")
        return self._users.get(token) if scheme == "Bearer" else None

    def token_for(self, name: str, groups: Iterable[str]) -> str:
        """The token of the user, who is made, or moved to these groups, if need be."""
        user = User(name, frozenset(groups))
        known = next((token for token, one in self._users.items() if one.name == name), None)
        token = known or secrets.token_urlsafe(32)
        if self._users.get(token) != user:
            self._users[token] = user
            self._write_tokens(self._users)
        return token

    def write_kubeconfig(self, path: Path, url: str, token: str | None = None) -> None:
        """Of the token's user, or of the admin. JSON is YAML, so no YAML library is needed. The keys are
        named, not included: clients write those that are included to temporary files."""
        authority, admin = (str((self._dir / name).absolute()) for name in ("ca.crt", "admin.pem"))
        user = {"token": token} if token else {"client-certificate": admin, "client-key": admin}
        cluster = {"server": url, "certificate-authority": authority}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "trainyard",
            "clusters": [{"name": "trainyard", "cluster": cluster}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "trainyard", "context": {"cluster": "trainyard", "user": "user"}}],
        }
        _write(path, json.dumps(config, indent=2).encode())

    def _create(self) -> None:
        authority = trustme.CA(organization_name="trainyard")
        _write(self._dir / "ca.crt", authority.cert_pem.bytes())
        server = authority.issue_cert("127.0.0.1", "localhost", organization_name="trainyard")
        admin = authority.issue_cert("localhost", common_name=ADMIN, organization_name=ADMINS)
        _write(self._dir / "server.pem", server.private_key_and_cert_chain_pem.bytes())
        _write(self._dir / "admin.pem", admin.private_key_and_cert_chain_pem.bytes())
        self._write_tokens({secrets.token_urlsafe(32): User(ADMIN, frozenset({ADMINS}))})

    def _write_tokens(self, users: dict[str, User]) -> None:
        rows = [[token, user.name, user.name, ",".join(sorted(user.groups))] for token, user in users.items()]
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        _write(self._tokens, text.getvalue().encode())


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, and for the owner only."""
    partial = path.with_name(path.name + ".new")
    partial.touch(mode=0o600)
    partial.write_bytes(data)
    partial.replace(path)
