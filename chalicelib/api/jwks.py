"""The issuer's public keys: read from a JWKS, kept for a while, read again at once when one is missing.

PyJWT's own PyJWKClient refuses file:// and reads the wall clock, hence this.
"""

from __future__ import annotations

import json
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from chalicelib.errors import Retryable
from chalicelib.services.ports import Clock

FETCH_TIMEOUT_SECONDS = 5
MAX_JWKS_BYTES = 1024 * 1024
MIN_FETCH_INTERVAL = timedelta(seconds=10)  # however many unknown key ids arrive
# Only the public parts of a key are used, and only with the one algorithm that its type is for.
_PUBLIC = {"RSA": ("RS256", ("kty", "n", "e")), "EC": ("ES256", ("kty", "crv", "x", "y"))}

log = logging.getLogger(__name__)
Fetch = Callable[[str], bytes]


class KeysUnavailable(Retryable):
    """There are no keys yet and the JWKS cannot be read: nobody's token can be checked."""


class Keys:
    """The keys of one JWKS by key id."""

    def __init__(self, url: str, cache_seconds: int, clock: Clock, fetch: Fetch) -> None:
        self._url = url
        self._lifetime = timedelta(seconds=cache_seconds)
        self._clock = clock
        self._fetch = fetch
        self._lock = threading.Lock()
        self._keys: Mapping[str, PyJWK] = {}
        self._fetched_at: datetime | None = None
        self._tried_at: datetime | None = None

    def find(self, key_id: str) -> PyJWK | None:
        """The key, or None. Raises KeysUnavailable when there are no keys at all."""
        with self._lock:
            if self._is_older(self._fetched_at, self._lifetime) or key_id not in self._keys:
                self._refresh()
            if self._fetched_at is None:
                raise KeysUnavailable("the JWKS cannot be read, and no keys are known yet")
            return self._keys.get(key_id)

    def _refresh(self) -> None:
        if not self._is_older(self._tried_at, MIN_FETCH_INTERVAL):
            return
        self._tried_at = self._clock()
        try:
            self._keys = parse_keys(self._fetch(self._url))
        except (OSError, HTTPException, ValueError) as error:
            # Keys that were good stay good: an outage of the issuer's host signs nobody out.
            log.warning("the JWKS at %s cannot be read: %s", self._url, error)
        else:
            self._fetched_at = self._tried_at

    def _is_older(self, moment: datetime | None, age: timedelta) -> bool:
        # A clock that was set back makes the past look like the future: read again then too.
        return moment is None or not timedelta(0) <= self._clock() - moment < age


def parse_keys(raw: bytes) -> Mapping[str, PyJWK]:
    """The usable keys of a JWKS by their id. Raises ValueError for what is not a JWKS."""
    document = json.loads(raw)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("it is not a JSON Web Key Set")
    keys = {}
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("kid"), str) and (key := _key(entry)):
            keys[entry["kid"]] = key
    return keys


def fetch_jwks(url: str) -> bytes:
    """Read https:// or file://. Raises OSError, HTTPException or ValueError."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path)).read_bytes()
    if parts.scheme != "https":
        raise ValueError("only https:// and file:// URLs are read")
    with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_SECONDS) as response:
        if urlsplit(response.url).scheme != "https":
            raise ValueError("it redirects to what is not https://")
        raw: bytes = response.read(MAX_JWKS_BYTES + 1)
    if len(raw) > MAX_JWKS_BYTES:
        raise ValueError(f"it has more than {MAX_JWKS_BYTES} bytes")
    return raw


def _key(entry: Mapping[str, Any]) -> PyJWK | None:
    algorithm, parts = _PUBLIC.get(str(entry.get("kty")), ("", ()))
    fits = entry.get("alg", algorithm) == algorithm and entry.get("use", "sig") == "sig"
    if not algorithm or not fits or entry.get("crv", "P-256") != "P-256":
        return None
    try:
        return PyJWK({part: entry[part] for part in parts}, algorithm)
    except (KeyError, PyJWTError) as error:
        log.warning("the JWKS has a key that cannot be used: %s", type(error).__name__)
        return None
