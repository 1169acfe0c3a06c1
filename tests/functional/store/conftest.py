"""The store on MiniStack, a server in a process of its own, with the stack deployed from resources.yaml."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.aws_models import PlainItems
from chalicelib.aws_session import AwsSession
from chalicelib.store.connect import dynamo_client
from infra.local import config
from infra.local.config import Local
from tests.stack import start_ministack, stop_ministack

pytest.register_assert_rewrite(
    "tests.unit.store.records",
    "tests.unit.store.lists",
    "tests.unit.store.totals",
    "tests.unit.store.events",
    "tests.unit.store.uploads",
)

from tests.unit.store.benches import bench, new_bench  # noqa: E402, F401 (fixtures)


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """A running MiniStack; TRAINYARD_MINISTACK_PYTHON says whose python has it."""
    chosen = {"TRAINYARD_HOME": str(tmp_path_factory.mktemp("trainyard")), "TRAINYARD_AWS_PORT": _free_port()}
    if python := os.environ.get("TRAINYARD_MINISTACK_PYTHON"):
        chosen["TRAINYARD_MINISTACK_PYTHON"] = python
    local = config.load(chosen)
    if not local.ministack_python.exists():
        pytest.skip(f"no MiniStack: {local.ministack_python} is missing (TRAINYARD_MINISTACK_PYTHON)")
    start_ministack(local)
    yield local
    stop_ministack(local)


@pytest.fixture(scope="session")
def client(local: Local) -> Any:
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            environment.delenv(name)
        for name, value in config.aws_environment(local, {}).items():
            environment.setenv(name, value)
        return dynamo_client(AwsSession(PlainItems()))


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind((config.HOST, 0))
        return str(probe.getsockname()[1])
