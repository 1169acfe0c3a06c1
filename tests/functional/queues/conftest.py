"""MiniStack alone, with a small stack of the tests' own: a table, a bucket, and queues with dead letters."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import config, ministack
from infra.local.config import Local
from tests.stack import free_ports, start_ministack, stop_ministack

RESOURCES = Path(__file__).with_name("resources.yaml")


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """A running MiniStack with the stack; a test that ends it starts it again."""
    with pytest.MonkeyPatch.context() as environment:
        local = alone(tmp_path_factory.mktemp("queues"))
        for name, value in config.aws_environment(local, {}).items():
            environment.setenv(name, value)
        start_ministack(local)
        ministack.deploy(local, RESOURCES)
        yield local
        stop_ministack(local)


def alone(home: Path) -> Local:
    """Where a MiniStack of a test's own has its things."""
    given = {"TRAINYARD_HOME": str(home), "TRAINYARD_AWS_PORT": str(free_ports(1)[0])}
    if python := os.environ.get("TRAINYARD_MINISTACK_PYTHON"):
        given["TRAINYARD_MINISTACK_PYTHON"] = python
    return config.load(given)
