"""Prints what the crash test came to, beside pytest's own summary."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.proof.crashes import Count, table

COUNTS = pytest.StashKey[list[Count]]()


@pytest.fixture
def counts(request: pytest.FixtureRequest) -> Iterator[list[Count]]:
    yield request.config.stash.setdefault(COUNTS, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = terminalreporter.config.stash.get(COUNTS, [])
    if counts:
        terminalreporter.section("side effects found, and workers killed before and after each")
        for line in table(counts):
            terminalreporter.line(line)
