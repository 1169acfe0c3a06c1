"""Everything that a deployment sets, read once from the environment; names carry their units.

A value that cannot be read is an InvalidSetting that names the variable: a function that starts with a wrong
setting fails at its first call and not at the first job.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Any

from chalicelib.domain.job import Resources
from chalicelib.domain.pools import Pool

DEFAULT_IMAGES = {
    "pytorch": "pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime",
    "tensorflow": "tensorflow/tensorflow:2.20.0-gpu",
}
DEFAULT_BUNDLE_IMAGE = "public.ecr.aws/lambda/python:3.13"
MIN_SECRET_CHARS = 32
_ORIGIN = re.compile(r"\*|https?://[a-z0-9.-]+(:[0-9]{1,5})?")  # as browsers spell it, which compare texts
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_WEBSOCKET_URL = re.compile(r"wss?://[^/?#\s]+(/[^?#\s]*)?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ANY = re.compile(r".+", re.DOTALL)
_POOL_FIELDS: Mapping[str, type | UnionType] = {
    "cluster": str,
    "namespace": str,
    "queues": list,
    "node_selector": dict,
    "tolerations": list,
    "gpu_resource": str,
    "default_resources": dict,
    "images": dict,
    "workspace_claim": str,
    "dataset_claim": str,
    "priority_classes": bool,
    "run_as": int | None,
    "service_account": str,
}


# What AWS takes for a name, so that a slip is told at the first call and not at the first job.
_KUBECONFIG_FIELDS = {"kubeconfig": _ANY, "context": _ANY}
_EKS_FIELDS = {
    "eks": re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}"),
    "region": re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+"),
    "role_arn": re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+"),
    "endpoint": re.compile(r"https://[^/?#\s]+"),
    "certificate_authority": re.compile(r"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t[A-Za-z0-9+/]+={0,2}"),
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
    clusters: Mapping[str, Mapping[str, str]]  # by id: of a kubeconfig, or on EKS; docs/settings.md
    jwt_issuer: str
    jwt_audience: str
    jwks_url: str  # https://… or file://…
    jwks_cache_seconds: int
    tenant_claim: str  # of a token: who it is for
    roles_claim: str
    counter_shards: int
    idempotency_seconds: int
    event_retention_days: int  # how long an event of a job is kept after it last happened
    finished_job_ttl_seconds: int  # how long Kubernetes keeps a finished Job
    stop_grace_seconds: int  # SIGTERM → SIGKILL
    sync_function: str  # the sync λ's name, to kick it; empty: nothing to kick
    sync_interval_seconds: float
    sync_lease_seconds: int
    state_change_bus: str  # the EventBridge bus that is told of state changes; empty: nobody is
    log_group: str  # of CloudWatch Logs, that pods' logs are shipped to
    log_shipping_seconds: int  # that a pod's last lines may take to get there
    cluster_timeout_seconds: float  # at most 5: domain.decide.SUBMISSION_LASTS builds on it
    api_url: str  # that links to jobs begin with; empty: they are paths
    bundle_image: str  # unpacks bundles: has python3 and botocore
    bundle_env: Mapping[str, str]  # of its container
    terminal_url: str = ""  # ws://… or wss://… of the relay; empty: no terminals
    terminal_secret_arn: str = ""  # where Secrets Manager has it; not read where terminal_secret is set
    cors_origin: str = ""  # whose pages may read the API's answers, `*`: anybody's; empty: nobody's
    terminal_secret: str = field(default="", repr=False)  # signs tickets; the relay has the same one


def load(environ: Mapping[str, str]) -> Settings:
    """Read the settings out of `environ`. Raises InvalidSetting."""
    read = Reader(environ)
    clusters = read.clusters("CLUSTERS", {"default": {}})
    return Settings(
        instance=read.label("INSTANCE", "trainyard"),
        jobs_table=read.text("JOBS_TABLE", "trainyard-jobs"),
        pools=read.pools("POOLS", {"default": {"cluster": "default"}}, clusters),
        images=read.texts("IMAGES", DEFAULT_IMAGES),
        clusters=clusters,
        jwt_issuer=read.text("JWT_ISSUER", "trainyard"),
        jwt_audience=read.text("JWT_AUDIENCE", "trainyard"),
        jwks_url=read.text("JWKS_URL", ""),
        jwks_cache_seconds=read.whole("JWKS_CACHE_SECONDS", 300),
        tenant_claim=read.text("TENANT_CLAIM", "tenant"),
        roles_claim=read.text("ROLES_CLAIM", "roles"),
        counter_shards=read.whole("COUNTER_SHARDS", 8),
        idempotency_seconds=read.whole("IDEMPOTENCY_SECONDS", 24 * 3600),
        event_retention_days=read.whole("EVENT_RETENTION_DAYS", 30),
        finished_job_ttl_seconds=read.whole("FINISHED_JOB_TTL_SECONDS", 24 * 3600),
        stop_grace_seconds=read.whole("STOP_GRACE_SECONDS", 30),
        sync_function=read.text("SYNC_FUNCTION", ""),
        sync_interval_seconds=read.seconds("SYNC_INTERVAL_SECONDS", 5.0, most=20.0),
        sync_lease_seconds=read.whole("SYNC_LEASE_SECONDS", 20),
        state_change_bus=read.text("STATE_CHANGE_BUS", ""),
        log_group=read.text("LOG_GROUP", "/trainyard/jobs"),
        log_shipping_seconds=read.whole("LOG_SHIPPING_SECONDS", 30),
        cluster_timeout_seconds=read.seconds("CLUSTER_TIMEOUT_SECONDS", 5.0, most=5.0),
        api_url=read.text("API_URL", "").rstrip("/"),
        bundle_image=read.text("BUNDLE_IMAGE", DEFAULT_BUNDLE_IMAGE),
        bundle_env=read.texts("BUNDLE_ENV", {}),
        cors_origin=read.origin("CORS_ORIGIN"),
        terminal_url=read.websocket_url("TERMINAL_URL"),
        terminal_secret=read.secret("TERMINAL_SECRET"),
        terminal_secret_arn=read.text("TERMINAL_SECRET_ARN", ""),
    )


class Reader:
    """Reads and checks; a variable that is empty counts as not set."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str) -> str:
        return self._environ.get(f"TRAINYARD_{name}") or default

    def label(self, name: str, default: str) -> str:
        text = self.text(name, default)
        if not _LABEL.fullmatch(text):
            raise InvalidSetting(f"TRAINYARD_{name}={text!r}: a Kubernetes label's value is allowed")
        return text

    def whole(self, name: str, default: int) -> int:
        text = self.text(name, str(default))
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise InvalidSetting(f"TRAINYARD_{name}={text!r}: a whole number from 1 is allowed")
        return int(text)

    def seconds(self, name: str, default: float, most: float) -> float:
        text = self.text(name, str(default))
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 < value <= most:
            raise InvalidSetting(f"TRAINYARD_{name}={text!r}: seconds above 0, at most {most:g}, are allowed")
        return value

    def websocket_url(self, name: str) -> str:
        """Without a slash at its end; empty where it is not set."""
        text = self.text(name, "").rstrip("/")
        if text and not _WEBSOCKET_URL.fullmatch(text):
            raise InvalidSetting(f"TRAINYARD_{name}={text!r}: a ws:// or wss:// URL is allowed")
        return text

    def origin(self, name: str) -> str:
        text = self.text(name, "")
        if text and not _ORIGIN.fullmatch(text):
            raise InvalidSetting(
                f"TRAINYARD_{name}={text!r}: *, or one origin such as https://app.example, is allowed"
            )
        return text

    def secret(self, name: str) -> str:
        text = self.text(name, "")
        if text and len(text) < MIN_SECRET_CHARS:
            raise InvalidSetting(f"TRAINYARD_{name}: at least {MIN_SECRET_CHARS} characters are allowed")
        return text

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

    def texts(self, name: str, default: Mapping[str, str]) -> Mapping[str, str]:
        value = self.json(name, default)
        if wrong := [key for key, text in value.items() if not isinstance(text, str) or not text]:
            raise InvalidSetting(f"TRAINYARD_{name}.{wrong[0]}: a text is allowed")
        return value

    def clusters(self, name: str, default: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:
        value = self.json(name, default)
        for key, cluster in value.items():
            _check_cluster(f"TRAINYARD_{name}.{key}", cluster)
        return value

    def pools(self, name: str, default: Mapping[str, Any], clusters: Mapping[str, Any]) -> Mapping[str, Pool]:
        pools = {
            key: _pool(f"TRAINYARD_{name}.{key}", key, value)
            for key, value in self.json(name, default).items()
        }
        for key, pool in pools.items():
            if pool.cluster not in clusters:
                known = ", ".join(sorted(clusters))
                raise InvalidSetting(f"TRAINYARD_{name}.{key}.cluster={pool.cluster!r}: known are {known}")
        return pools


def _check_cluster(variable: str, cluster: Any) -> None:
    if not isinstance(cluster, dict):
        raise InvalidSetting(f"{variable}: a JSON object is allowed")
    fields = _EKS_FIELDS if "eks" in cluster else _KUBECONFIG_FIELDS
    if wrong := sorted(cluster.keys() - fields):
        known = {*_EKS_FIELDS, *_KUBECONFIG_FIELDS}
        problem = "does not go with the others" if wrong[0] in known else "is not known"
        kinds = f"{', '.join(_KUBECONFIG_FIELDS)} are allowed, or {', '.join(_EKS_FIELDS)}"
        raise InvalidSetting(f"{variable}.{wrong[0]} {problem}: {kinds}")
    for name, text in cluster.items():
        if not isinstance(text, str) or not fields[name].fullmatch(text):
            raise InvalidSetting(f"{variable}.{name}={text!r} is not allowed; see docs/settings.md")
    if ("endpoint" in cluster) != ("certificate_authority" in cluster):
        raise InvalidSetting(f"{variable}: endpoint and certificate_authority go together")


def _pool(variable: str, pool_id: str, value: Any) -> Pool:
    if not isinstance(value, dict):
        raise InvalidSetting(f"{variable}: a JSON object is allowed")
    if unknown := set(value) - set(_POOL_FIELDS):
        raise InvalidSetting(f"{variable}: unknown {sorted(unknown)}; known are {sorted(_POOL_FIELDS)}")
    for name, setting in value.items():
        if not isinstance(setting, _POOL_FIELDS[name]):
            raise InvalidSetting(
                f"{variable}.{name}={setting!r}: another type is allowed; see docs/settings.md"
            )
    settings = dict(value)
    try:
        if "default_resources" in settings:
            settings["default_resources"] = Resources(**settings["default_resources"])
        if "queues" in settings:
            settings["queues"] = tuple(settings["queues"])
        pool = Pool(id=pool_id, **settings)
        patterns = (
            pool.namespace.format(tenant="t"),
            pool.workspace_claim.format(id=1),
            pool.dataset_claim.format(id=1),
        )
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise InvalidSetting(f"{variable}: {error!r}") from error
    if wrong := [text for text in patterns if not _NAME.fullmatch(text)]:
        raise InvalidSetting(f"{variable}: {wrong[0]!r} cannot be a name in Kubernetes")
    return pool
