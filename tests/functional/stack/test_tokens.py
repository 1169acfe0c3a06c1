"""The tokens' command line: a token and nothing else, whether or not a stack runs."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest

from infra.local.config import AUDIENCE, ISSUER, REPO


def token_command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.local.tokens", *arguments],
        env={**os.environ, "TRAINYARD_HOME": str(home)},
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )


def claims(home: Path, token: str) -> dict[str, object]:
    keys = jwt.PyJWKSet.from_json((home / "keys" / "jwks.json").read_text())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    return dict(jwt.decode(token, key, algorithms=["ES256"], issuer=ISSUER, audience=AUDIENCE))


def test_a_token_names_tenant_and_roles_and_verifies_with_the_published_key(tmp_path: Path) -> None:
    made = token_command(tmp_path, "--tenant", "acme", "--roles", "viewer,admin", "--ttl", "60")
    assert (made.returncode, made.stderr, made.stdout.count("\n")) == (0, "", 1)
    said = claims(tmp_path, made.stdout.strip())
    assert (said["tenant"], said["roles"]) == ("acme", ["viewer", "admin"])
    assert said["exp"] == said["iat"] + 60  # type: ignore[operator]


def test_a_member_is_the_default_and_the_key_stays(tmp_path: Path) -> None:
    first, second = (token_command(tmp_path, "--tenant", "acme").stdout.strip() for _ in range(2))
    assert claims(tmp_path, first)["roles"] == claims(tmp_path, second)["roles"] == ["member"]


def test_the_private_key_is_for_its_owner_only(tmp_path: Path) -> None:
    token_command(tmp_path, "--tenant", "acme")
    assert stat.S_IMODE((tmp_path / "keys" / "private.pem").stat().st_mode) == 0o600
    assert "d" not in json.loads((tmp_path / "keys" / "jwks.json").read_text())["keys"][0]


def test_two_first_calls_at_once_agree_on_the_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda _: token_command(tmp_path, "--tenant", "acme"), range(4)))
    assert [claims(tmp_path, one.stdout.strip())["tenant"] for one in made] == ["acme"] * 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param([], "--tenant", id="no tenant"),
        pytest.param(["--tenant", ""], "tenant ''", id="an empty tenant"),
        pytest.param(["--tenant", "Acme"], "tenant 'Acme'", id="a tenant that no namespace can hold"),
        pytest.param(["--tenant", "a" * 41], "1 to 40", id="a long tenant"),
        pytest.param(["--tenant", "a\nb"], "tenant 'a\\nb'", id="a tenant of two lines"),
        pytest.param(["--tenant", "a", "--roles", "owner"], "roles 'owner'", id="an unknown role"),
        pytest.param(["--tenant", "a", "--roles", ","], "roles ''", id="no role"),
        pytest.param(["--tenant", "a", "--ttl", "0"], "ttl 0", id="a ttl of nothing"),
        pytest.param(["--tenant", "a", "--ttl", "9" * 30], "ttl 999", id="an endless ttl"),
        pytest.param(["--tenant", "a", "--ttl", "soon"], "'soon'", id="a ttl in words"),
    ],
)
def test_what_cannot_be_is_one_clear_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    made = token_command(tmp_path, *arguments)
    assert (made.returncode, made.stdout) == (2, "")
    assert made.stderr.count("\n") == 1
    assert said in made.stderr
