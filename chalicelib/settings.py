"""Everything that a deployment sets, read once from the environment; names carry their units.

A value that cannot be read is an InvalidSetting that names the variable: a function that starts with a wrong
setting fails at its first call and not at the first job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from chalicelib.domain.job import Resources
from chalicelib.domain.pools import Pool

DEFAULT_IMAGES = {
    "pytorch": "pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime",
    "tensorflow": "tensorflow/tensorflow:2.20.0-gpu",
}


class InvalidSetting(ValueError):
    """An environment variable holds something that its setting does not take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One stage's configuration. Each field's variable is its upper-case name behind `TRAINYARD_`."""

    instance: str  # names this Trainyard in the cluster: two of them can share one
    jobs_table: str
    pools: Mapping[str, Pool]  # by id; the first is the default
    images: Mapping[str, str]  # framework → image
    clusters: Mapping[str, Mapping[str, str]]  # by id: {"kubeconfig": path, "context": name}
    jwt_issuer: str
    jwt_audience: str
    jwks_url: str  # https://… or file://…
    jwks_cache_seconds: int
    counter_shards: int
    idempotency_seconds: int
    finished_job_ttl_seconds: int  # how long Kubernetes keeps a finished Job
    stop_grace_seconds: int  # SIGTERM → SIGKILL
    sync_function: str  # the sync λ's name, to kick it; empty: nothing to kick
    sync_interval_seconds: float
    sync_lease_seconds: int
    cluster_timeout_seconds: float

    @property
    def default_pool(self) -> str:
        return next(iter(self.pools))


def load(environ: Mapping[str, str]) -> Settings:
    """Read the settings out of `environ`. Raises InvalidSetting."""
    read = _Reader(environ)
    return Settings(
        instance=read.text("INSTANCE", "trainyard"),
        jobs_table=read.text("JOBS_TABLE", "trainyard-jobs"),
        pools=read.pools("POOLS", {"default": {"cluster": "default"}}),
        images=read.json("IMAGES", DEFAULT_IMAGES),
        clusters=read.json("CLUSTERS", {"default": {}}),
        jwt_issuer=read.text("JWT_ISSUER", "trainyard"),
        jwt_audience=read.text("JWT_AUDIENCE", "trainyard"),
        jwks_url=read.text("JWKS_URL", ""),
        jwks_cache_seconds=read.whole("JWKS_CACHE_SECONDS", 300),
        counter_shards=read.whole("COUNTER_SHARDS", 8),
        idempotency_seconds=read.whole("IDEMPOTENCY_SECONDS", 24 * 3600),
        finished_job_ttl_seconds=read.whole("FINISHED_JOB_TTL_SECONDS", 24 * 3600),
        stop_grace_seconds=read.whole("STOP_GRACE_SECONDS", 30),
        sync_function=read.text("SYNC_FUNCTION", ""),
        sync_interval_seconds=read.seconds("SYNC_INTERVAL_SECONDS", 2.0),
        sync_lease_seconds=read.whole("SYNC_LEASE_SECONDS", 20),
        cluster_timeout_seconds=read.seconds("CLUSTER_TIMEOUT_SECONDS", 10.0),
    )


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str) -> str:
        return self._environ.get(f"TRAINYARD_{name}", default)

    def whole(self, name: str, default: int) -> int:
        text = self.text(name, str(default))
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise InvalidSetting(f"TRAINYARD_{name}={text!r}: a whole number from 1 is allowed")
        return int(text)

    def seconds(self, name: str, default: float) -> float:
        text = self.text(name, str(default))
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 < value < 1e6:
            raise InvalidSetting(f"TRAINYARD_{name}={text!r}: a number of seconds above 0 is allowed")
        return value

    def json(self, name: str, default: Mapping[str, Any]) -> Mapping[str, Any]:
        text = self.text(name, "")
        if not text:
            return default
        try:
            value = json.loads(text)
        except ValueError as error:
            raise InvalidSetting(f"TRAINYARD_{name}: not JSON: {error}") from error
        if not isinstance(value, dict) or not value:
            raise InvalidSetting(f"TRAINYARD_{name}: a JSON object with at least one entry is allowed")
        return value

    def pools(self, name: str, default: Mapping[str, Any]) -> Mapping[str, Pool]:
        return {key: _pool(name, key, value) for key, value in self.json(name, default).items()}


def _pool(variable: str, pool_id: str, value: Any) -> Pool:
    if not isinstance(value, dict):
        raise InvalidSetting(f"TRAINYARD_{variable}.{pool_id}: a JSON object is allowed")
    known = {field.name for field in fields(Pool)} - {"id"}
    if unknown := set(value) - known:
        raise InvalidSetting(
            f"TRAINYARD_{variable}.{pool_id}: unknown {sorted(unknown)}; known are {sorted(known)}"
        )
    settings = dict(value)
    try:
        if "default_resources" in settings:
            settings["default_resources"] = Resources(**settings["default_resources"])
        if "queues" in settings:
            settings["queues"] = tuple(settings["queues"])
        return Pool(id=pool_id, **settings)
    except TypeError as error:
        raise InvalidSetting(f"TRAINYARD_{variable}.{pool_id}: {error}") from error
