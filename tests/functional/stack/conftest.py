"""A stack for the tests that only look at it, and one for those that break it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import RunningStack, start_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Up for the whole module; a test leaves it up."""
    # A killed pump's lease runs out sooner than in life.
    running = start_stack(tmp_path_factory.mktemp("stack"), {"TRAINYARD_SYNC_LEASE_SECONDS": "5"})
    yield running
    running.stop()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"
