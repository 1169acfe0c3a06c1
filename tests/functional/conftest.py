"""The package, built once for all tests that look into it."""

from __future__ import annotations

import pytest

from infra.packaging import stages
from infra.packaging.package import Package, build


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Raises where a function does not start out of the package alone."""
    return build(stages.read("dev"), tmp_path_factory.mktemp("package") / "dev")
