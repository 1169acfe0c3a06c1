"""What an EKS cluster does with a token, computed without botocore: the checks of aws-iam-authenticator
(github.com/kubernetes-sigs/aws-iam-authenticator, pkg/token), and STS' check of the signature
(docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html)."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, urlsplit

ALLOWED = {
    "Action",
    "Version",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
}
MOST_CHARS = 4096
LASTS = timedelta(minutes=15)


class NotKnown(Exception):
    """The token opens nothing here, and why."""


@dataclass(frozen=True)
class Token:
    url: str
    host: str
    query: Mapping[str, str]

    @property
    def signed_at(self) -> datetime:
        return datetime.strptime(self.query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)

    @property
    def access_key(self) -> str:
        return self.query["X-Amz-Credential"].split("/")[0]


def decoded(token: str) -> Token:
    prefix, _, text = token.partition(".")
    if len(token) > MOST_CHARS or prefix != "k8s-aws-v1" or "=" in text:
        raise NotKnown(f"not a token: {token[:20]}")
    url = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, strict_parsing=True)
    query = dict(pairs)
    if (parts.scheme, parts.path) != ("https", "/") or len(query) != len(pairs) or query.keys() - ALLOWED:
        raise NotKnown(f"not a sign-in: {url}")
    return Token(url, parts.netloc, query)


def check(
    text: str,
    cluster: str,
    region: str,
    secrets: Mapping[str, str],
    now: datetime,
    suffix: str = "amazonaws.com",
) -> str:
    """The access key of whoever signed; `secrets` are the keys that STS knows. Raises NotKnown."""
    token = decoded(text)
    query = token.query
    if token.host != f"sts.{region}.{suffix}" or query["Action"] != "GetCallerIdentity":
        raise NotKnown(f"not for STS: {token.url}")
    if "x-k8s-aws-id" not in query["X-Amz-SignedHeaders"].split(";"):
        raise NotKnown("the cluster's name is not signed")
    if not 0 <= int(query["X-Amz-Expires"]) <= 900 or now > token.signed_at + LASTS:
        raise NotKnown(f"signed at {token.signed_at}: expired")
    secret = secrets.get(token.access_key)
    if secret is None:
        raise NotKnown(f"STS has no access key {token.access_key}")
    if query["X-Amz-Signature"] != _signature(token, cluster, region, secret):
        raise NotKnown("STS finds another signature")
    return token.access_key


def _signature(token: Token, cluster: str, region: str, secret: str) -> str:
    query = token.query
    headers = {"host": token.host, "x-k8s-aws-id": cluster}
    names = query["X-Amz-SignedHeaders"]
    asked = "&".join(
        f"{quote(name, safe='-_.~')}={quote(text, safe='-_.~')}"
        for name, text in sorted(query.items())
        if name != "X-Amz-Signature"
    )
    said = "".join(f"{name}:{headers[name]}\n" for name in names.split(";"))
    request = "\n".join(["GET", "/", asked, said, names, hashlib.sha256(b"").hexdigest()])
    day = query["X-Amz-Date"][:8]
    scope = f"{day}/{region}/sts/aws4_request"
    told = "\n".join(
        ["AWS4-HMAC-SHA256", query["X-Amz-Date"], scope, hashlib.sha256(request.encode()).hexdigest()]
    )
    key = f"AWS4{secret}".encode()
    for word in (day, region, "sts", "aws4_request"):
        key = _hmac(key, word)
    return _hmac(key, told).hex()


def _hmac(key: bytes, word: str) -> bytes:
    return hmac.digest(key, word.encode(), "sha256")
