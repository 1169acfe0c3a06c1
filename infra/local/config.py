"""Says where the embedded stack keeps its things and what its processes are told, in one place.

Everything lives under one folder (`.trainyard/`, or TRAINYARD_HOME), so that removing it is a clean start and
two folders are two stacks that know nothing of each other.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
RESOURCES = REPO / "infra" / "resources.yaml"
HOST = "127.0.0.1"
REGION = "us-east-1"
AWS_KEY_ID = "test"  # MiniStack takes any; a 12-digit one would name another account
AWS_SECRET = "test"
ISSUER = "trainyard-local"
AUDIENCE = "trainyard"
DEFAULT_TENANT = "demo"
SERVICE_USER = "trainyard"  # and its group
READER_USER = "trainyard-reader"  # the API's, and its group
TERMINAL_USER = "trainyard-terminal"  # the relay's, and its group
LOG_GROUP = "/trainyard/jobs"
STATE_CHANGE_BUS = "trainyard"
SUBMISSIONS_BUCKET = "trainyard-submissions"


class BadConfig(ValueError):
    """An environment variable of the embedded stack holds something that it does not take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """One embedded stack: its folder, its ports and its cluster."""

    home: Path
    port: int
    aws_port: int
    kubernetes_port: int
    terminal_port: int
    given_kubeconfig: str | None  # somebody's own cluster; None: the embedded one
    node_cpu: str
    node_memory: str
    node_gpu: str
    ministack_python: Path
    node_logs: Path | None  # of the pods whose logs are shipped, as a kubelet keeps them

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def aws_url(self) -> str:
        return f"http://{HOST}:{self.aws_port}"

    @property
    def terminal_url(self) -> str:
        return f"ws://localhost:{self.terminal_port}"

    @property
    def embedded_cluster(self) -> bool:
        return self.given_kubeconfig is None

    @property
    def kubeconfig(self) -> str:
        return self.given_kubeconfig or str(self.kubernetes_state / "kubeconfig")

    @property
    def service_kubeconfig(self) -> str:
        """What Trainyard's own functions sign in with: on the embedded cluster as the user `trainyard`, who
        may do what infra/kubernetes/rbac.yaml allows and no more."""
        return self.given_kubeconfig or str(self.kubernetes_state / f"kubeconfig-{SERVICE_USER}")

    @property
    def reader_kubeconfig(self) -> str:
        """What the API signs in with: it reads pods and their logs, and can change nothing."""
        return self.given_kubeconfig or str(self.kubernetes_state / f"kubeconfig-{READER_USER}")

    @property
    def terminal_kubeconfig(self) -> str:
        """What the terminal relay signs in with: it may exec into pods, which nobody else may."""
        return self.given_kubeconfig or str(self.kubernetes_state / f"kubeconfig-{TERMINAL_USER}")

    @property
    def kubernetes_state(self) -> Path:
        return self.home / "kubernetes"

    @property
    def volumes(self) -> Path:
        return self.home / "volumes"

    @property
    def aws_state(self) -> Path:
        return self.home / "ministack"

    @property
    def deployed_file(self) -> Path:
        return self.home / "deployed.json"

    @property
    def keys(self) -> Path:
        return self.home / "keys"

    @property
    def jwks_file(self) -> Path:
        return self.keys / "jwks.json"

    def checkpoint_file(self, function: str) -> Path:
        """How far the stream has been read for that function."""
        return self.home / "pump" / ("checkpoint.json" if function == "outbox" else f"{function}.json")

    @property
    def shipped_file(self) -> Path:
        return self.home / "shipper" / "checkpoint.json"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def env_file(self) -> Path:
        return self.home / "env"


def load(environ: Mapping[str, str] = os.environ) -> Local:
    """Read the embedded stack's own settings. Raises BadConfig."""
    home = Path(environ.get("TRAINYARD_HOME") or REPO / ".trainyard").expanduser().resolve()
    kubeconfig = _given_kubeconfig(environ)
    local = Local(
        home=home,
        port=_port(environ, "TRAINYARD_PORT", 8000),
        aws_port=_port(environ, "TRAINYARD_AWS_PORT", 4566),
        kubernetes_port=_port(environ, "TRAINYARD_KUBERNETES_PORT", 6443),
        terminal_port=_port(environ, "TRAINYARD_TERMINAL_PORT", 8080),
        given_kubeconfig=kubeconfig,
        node_cpu=environ.get("TRAINYARD_NODE_CPU") or "32",
        node_memory=environ.get("TRAINYARD_NODE_MEMORY") or "128Gi",
        node_gpu=environ.get("TRAINYARD_NODE_GPU") or "8",
        # Not resolved: a venv's python is a link, and what it links to knows nothing of the venv.
        ministack_python=Path(
            environ.get("TRAINYARD_MINISTACK_PYTHON") or REPO / ".venv-ministack" / "bin" / "python"
        ),
        node_logs=_node_logs(environ) if kubeconfig else home / "kubernetes" / "log" / "pods",
    )
    ports = [local.port, local.aws_port, local.terminal_port]
    if local.embedded_cluster:
        ports.append(local.kubernetes_port)
    if len(set(ports)) < len(ports):
        raise BadConfig(
            "TRAINYARD_PORT, TRAINYARD_AWS_PORT, TRAINYARD_TERMINAL_PORT and TRAINYARD_KUBERNETES_PORT must "
            f"differ; they are {', '.join(map(str, ports))}"
        )
    return local


def aws_environment(local: Local, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environ` with botocore pointed at MiniStack, and at nothing of the user's own."""
    kept = {name: value for name, value in environ.items() if not name.startswith("AWS_")}
    proxied = [part for part in (environ.get("NO_PROXY") or environ.get("no_proxy") or "").split(",") if part]
    no_proxy = ",".join(dict.fromkeys([*proxied, HOST, "localhost"]))
    return kept | {
        "AWS_ENDPOINT_URL": local.aws_url,
        "AWS_ACCESS_KEY_ID": AWS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def service_environment(
    local: Local, jobs_table: str, environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """What the API and the pump are told: the same variables that a deployment's functions get."""
    # What `up` printed is for clients: exporting it is no change of the stack's configuration.
    kept = {k: v for k, v in environ.items() if k not in ("TRAINYARD_URL", "TRAINYARD_TOKEN")}
    return aws_environment(local, kept) | {
        "TRAINYARD_HOME": str(local.home),
        "TRAINYARD_PORT": str(local.port),
        "TRAINYARD_AWS_PORT": str(local.aws_port),
        "TRAINYARD_KUBERNETES_PORT": str(local.kubernetes_port),
        "TRAINYARD_TERMINAL_PORT": str(local.terminal_port),
        "TRAINYARD_TERMINAL_URL": local.terminal_url,
        "TRAINYARD_CLUSTER": "embedded" if local.embedded_cluster else "kubeconfig",
        "KUBECONFIG": local.kubeconfig,
        "TRAINYARD_JOBS_TABLE": jobs_table,
        "TRAINYARD_LOG_GROUP": LOG_GROUP,
        "TRAINYARD_CLUSTERS": environ.get("TRAINYARD_CLUSTERS")
        or json.dumps({"default": {"kubeconfig": local.service_kubeconfig}}),
        "TRAINYARD_JWT_ISSUER": ISSUER,
        "TRAINYARD_JWT_AUDIENCE": AUDIENCE,
        "TRAINYARD_JWKS_URL": local.jwks_file.as_uri(),
        "TRAINYARD_SYNC_FUNCTION": "",
        "TRAINYARD_STATE_CHANGE_BUS": STATE_CHANGE_BUS,
        "TRAINYARD_API_URL": local.url,
        "TRAINYARD_BUNDLE_ENV": kept.get("TRAINYARD_BUNDLE_ENV") or _bundle_environment(local),
        "TRAINYARD_LOG_SHIPPING_SECONDS": kept.get("TRAINYARD_LOG_SHIPPING_SECONDS") or "5",
        "PYTHONUNBUFFERED": "1",
        # glibc's own default. Unless it is told, it raises it as large blocks come and go, such as botocore's
        # JSON at a start, and keeps as much as that of what is free.
        "MALLOC_TRIM_THRESHOLD_": "131072",
    }


def gateway_environment(
    local: Local, service: Mapping[str, str], environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """What the API is told: its own sign-in to the cluster beside what all are."""
    own = json.dumps({"default": {"kubeconfig": local.reader_kubeconfig}})
    return dict(service) | {"TRAINYARD_CLUSTERS": environ.get("TRAINYARD_CLUSTERS") or own}


def terminal_environment(
    local: Local, service: Mapping[str, str], environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """What the terminal relay is told beside what the API is: its own sign-in, and the pages it serves."""
    own = json.dumps({"default": {"kubeconfig": local.terminal_kubeconfig}})
    origins = [f"http://{host}:{local.terminal_port}" for host in ("localhost", HOST)]
    return (
        {"TRAINYARD_TERMINAL_ORIGINS": ",".join(origins)}
        | dict(service)
        | {
            "TRAINYARD_CLUSTERS": environ.get("TRAINYARD_CLUSTERS") or own,
            "TRAINYARD_TERMINAL_HOST": HOST,
        }
    )


def _bundle_environment(local: Local) -> str:
    """How a pod's own container reaches the bucket; no more than that of the pods' node's."""
    reach = {
        "AWS_ENDPOINT_URL": local.aws_url,
        "AWS_ACCESS_KEY_ID": AWS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
        "AWS_DEFAULT_REGION": REGION,
    }
    return json.dumps(reach)


def image_path() -> str:
    """Where the embedded cluster's containers find `python` first: this very venv."""
    return str(Path(sys.prefix) / "bin")


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise BadConfig(f"{name}={text!r}: a port from 1 to 65535 is allowed")
    return int(text)


def _node_logs(environ: Mapping[str, str]) -> Path | None:
    """A real cluster's logs can be shipped from here only if its node is this machine."""
    text = environ.get("TRAINYARD_NODE_LOGS")
    if not text:
        return None
    if not Path(text).is_dir():
        raise BadConfig(f"TRAINYARD_NODE_LOGS={text!r}: a folder such as /var/log/pods is allowed")
    return Path(text)


def _given_kubeconfig(environ: Mapping[str, str]) -> str | None:
    match environ.get("TRAINYARD_CLUSTER") or "embedded":
        case "embedded":
            return None
        case "kubeconfig":
            text = environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
            files = [Path(part).expanduser().absolute() for part in text.split(os.pathsep) if part]
            if missing := [str(file) for file in files if not file.is_file()]:
                raise BadConfig(
                    f"TRAINYARD_CLUSTER=kubeconfig needs KUBECONFIG: no file {', '.join(missing)}"
                )
            return os.pathsep.join(map(str, files))
        case other:
            raise BadConfig(f"TRAINYARD_CLUSTER={other!r}: 'embedded' or 'kubeconfig' is allowed")
