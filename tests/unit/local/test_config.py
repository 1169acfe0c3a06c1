"""The embedded stack's own settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chalicelib import settings
from infra.local import config
from infra.local.config import BadConfig


def test_everything_has_a_default() -> None:
    local = config.load({})
    assert (local.port, local.aws_port, local.kubernetes_port) == (8000, 4566, 6443)
    assert local.terminal_url == "ws://localhost:8080"
    assert local.home == config.REPO / ".trainyard"
    assert local.embedded_cluster


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"TRAINYARD_PORT": "http"}, "TRAINYARD_PORT='http': a port from 1 to 65535"),
        ({"TRAINYARD_PORT": "0"}, "TRAINYARD_PORT='0'"),
        ({"TRAINYARD_AWS_PORT": "65536"}, "TRAINYARD_AWS_PORT='65536'"),
        ({"TRAINYARD_PORT": "4566"}, "must differ"),
        ({"TRAINYARD_TERMINAL_PORT": "8000"}, "must differ"),
        ({"TRAINYARD_CLUSTER": "eks"}, "'embedded' or 'kubeconfig'"),
        ({"TRAINYARD_CLUSTER": "kubeconfig", "KUBECONFIG": "/nowhere/config"}, "no file /nowhere/config"),
    ],
)
def test_a_wrong_value_is_named(environ: dict[str, str], said: str) -> None:
    with pytest.raises(BadConfig, match=said.replace("(", r"\(")):
        config.load(environ)


def test_somebodys_own_cluster_is_driven_when_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.touch()
    local = config.load({"TRAINYARD_CLUSTER": "kubeconfig", "KUBECONFIG": str(file)})
    assert not local.embedded_cluster
    assert local.kubeconfig == str(file)


def test_the_embedded_clusters_logs_are_shipped_and_a_real_ones_when_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.touch()
    embedded = config.load({"TRAINYARD_HOME": str(tmp_path)})
    assert embedded.node_logs == tmp_path / "kubernetes" / "log" / "pods"
    real = {"TRAINYARD_CLUSTER": "kubeconfig", "KUBECONFIG": str(file)}
    assert config.load(real).node_logs is None
    assert config.load(real | {"TRAINYARD_NODE_LOGS": str(tmp_path)}).node_logs == tmp_path
    with pytest.raises(BadConfig, match="TRAINYARD_NODE_LOGS='/nowhere'"):
        config.load(real | {"TRAINYARD_NODE_LOGS": "/nowhere"})


def test_a_kubeconfig_alone_does_not_choose_the_cluster(tmp_path: Path) -> None:
    """`make up` prints KUBECONFIG: a shell that exported it still means the embedded cluster."""
    file = tmp_path / "kubeconfig"
    file.touch()
    assert config.load({"KUBECONFIG": str(file)}).embedded_cluster


def test_the_services_read_what_they_are_told(tmp_path: Path) -> None:
    local = config.load({"TRAINYARD_HOME": str(tmp_path)})
    read = settings.load(config.service_environment(local, "the-table", {}))
    assert read.jobs_table == "the-table"
    assert read.clusters == {"default": {"kubeconfig": str(tmp_path / "kubernetes" / "kubeconfig-trainyard")}}
    assert read.jwks_url == f"file://{tmp_path}/keys/jwks.json"


def test_the_api_signs_in_to_the_cluster_as_one_who_only_reads(tmp_path: Path) -> None:
    local = config.load({"TRAINYARD_HOME": str(tmp_path)})
    service = config.service_environment(local, "the-table", {})
    read = settings.load(config.gateway_environment(local, service, {}))
    kubeconfig = tmp_path / "kubernetes" / "kubeconfig-trainyard-reader"
    assert read.clusters == {"default": {"kubeconfig": str(kubeconfig)}}


def test_nothing_of_the_users_own_aws_reaches_the_services() -> None:
    mine = {"AWS_PROFILE": "work", "AWS_SESSION_TOKEN": "secret", "AWS_ENDPOINT_URL": "https://example.com"}
    env = config.service_environment(config.load({}), "t", mine)
    assert "work" not in env.values()
    assert "secret" not in env.values()
    assert env["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"


def test_a_proxy_is_not_used_for_the_stack_itself() -> None:
    env = config.service_environment(config.load({}), "t", {"NO_PROXY": "example.com"})
    assert env["NO_PROXY"] == "example.com,127.0.0.1,localhost"


def test_pools_that_are_exported_reach_the_services() -> None:
    pools = json.dumps({"a100": {"cluster": "default"}})
    env = config.service_environment(config.load({}), "t", {"TRAINYARD_POOLS": pools})
    assert list(settings.load(env).pools) == ["a100"]
