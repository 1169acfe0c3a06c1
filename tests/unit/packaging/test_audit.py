"""What an audit makes of what its tools say."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from infra.packaging.audit import Outcome, advisories, looked

CLEAN = {"name": "idna", "version": "3.20", "vulns": []}
UNKNOWN = {"name": "chalice", "skip_reason": "Dependency not found on PyPI"}
WEAK = {"name": "jinja2", "version": "2.4.1", "vulns": [{"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"]}]}
UNFIXED = {"name": "old", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": []}]}
CRASH = "Traceback …\nConnectionError: api.osv.dev"


class Tools:
    """pip-audit, and what it says of each service: the packages, or the text that it crashes with."""

    def __init__(self, **said: Any) -> None:
        self.said = said
        self.asked: list[str] = []

    def __call__(self, tool: str, *arguments: str) -> CompletedProcess[str]:
        service = arguments[arguments.index("--vulnerability-service") + 1]
        self.asked.append(service)
        if isinstance(said := self.said[service], str):
            return CompletedProcess([tool], 1, "", said)
        return CompletedProcess([tool], 0, json.dumps({"dependencies": said}), "")


@pytest.mark.parametrize(
    ("pypi", "osv", "outcome", "told"),
    [
        pytest.param([CLEAN], None, Outcome.CLEAN, "1 packages", id="clean"),
        pytest.param([CLEAN, UNKNOWN], None, Outcome.CLEAN, "not known: chalice", id="one is not known"),
        pytest.param(
            [CLEAN, WEAK], None, Outcome.FOUND, "jinja2 2.4.1: PYSEC-2019-217, fixed in 2.10.1", id="found"
        ),
        pytest.param([UNKNOWN, UNFIXED], None, Outcome.FOUND, "no version yet", id="found, others not known"),
        pytest.param([UNKNOWN], [WEAK], Outcome.FOUND, "PYSEC-2019-217", id="a mirror, and the other finds"),
        pytest.param(CRASH, [CLEAN], Outcome.CLEAN, "1 packages", id="no way there, and the other is clean"),
        pytest.param([UNKNOWN], CRASH, Outcome.NOT_LOOKED_AT, "knows none of 1", id="a mirror alone"),
        pytest.param(
            [UNKNOWN], CRASH, Outcome.NOT_LOOKED_AT, "osv: ConnectionError", id="and why not the other"
        ),
        pytest.param("", "", Outcome.NOT_LOOKED_AT, "it said nothing", id="silence"),
    ],
)
def test_advisories_are_those_of_the_first_service_that_knows_any_package(
    pypi: Any, osv: Any, outcome: Outcome, told: str
) -> None:
    tools = Tools(pypi=pypi, osv=osv)
    result = advisories(tools, Path("requirements.txt"))
    assert (result.outcome, told in result.told) == (outcome, True), result
    assert tools.asked == (["pypi"] if osv is None else ["pypi", "osv"])


@pytest.mark.parametrize(("code", "outcome"), [(0, Outcome.CLEAN), (1, Outcome.FOUND), (2, Outcome.FOUND)])
def test_a_linter_that_finds_anything_or_cannot_work_fails(code: int, outcome: Outcome) -> None:
    result = looked(lambda tool, *_: CompletedProcess([tool], code, "CKV_AWS_26\n", ""), "checkov", "-d", "x")
    assert (result.outcome, result.told) == (outcome, "CKV_AWS_26")
