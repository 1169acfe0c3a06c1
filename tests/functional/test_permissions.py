"""Nobody may do more than docs/security.md says, and a `*` has its reason there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.packaging.package import Package
from infra.packaging.permissions import LOGGING, Permission, permissions, table

PAGE = Path(__file__).parents[2] / "docs" / "security.md"


@pytest.fixture(scope="module")
def resources(built: Package) -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load(built.template.read_text())["Resources"]
    return found


@pytest.fixture(scope="module")
def found(resources: Mapping[str, Any]) -> list[Permission]:
    return permissions(resources)


def test_the_table_in_the_docs_is_what_the_template_allows(found: list[Permission]) -> None:
    """After a change: `python -m infra.packaging.permissions dist/dev/sam.yaml`."""
    assert table(found) in PAGE.read_text()


def test_a_wildcard_has_its_reason_in_the_docs(found: list[Permission]) -> None:
    wild = {(one.holder, text) for one in found for text in one.wildcards}
    rows = re.findall(r"^\| ([\w, ]+) \| `([^`]*\*)` \| .+ \|$", PAGE.read_text(), re.MULTILINE)
    assert wild == {(holder, text) for holders, text in rows for holder in holders.split(", ")}
    assert not [action for one in found for action in one.actions if "*" in action]


def test_every_function_has_a_role_of_its_own_and_writes_to_its_own_log_alone(
    resources: Mapping[str, Any], found: list[Permission]
) -> None:
    functions = {
        name: body["Properties"]
        for name, body in resources.items()
        if body["Type"] == "AWS::Serverless::Function"
    }
    roles = {name: properties["Role"]["Fn::GetAtt"][0] for name, properties in functions.items()}
    assert len(set(roles.values())) == len(functions) > 0
    logs = {
        (one.holder, resource)
        for one in found
        if LOGGING & set(one.actions) and one.holder != "ApiGatewayLogsRole"
        for resource in one.resources
    }
    assert logs == {(role, f"{name}Logs") for name, role in roles.items()}
    for name, properties in functions.items():
        assert properties["LoggingConfig"] == {"LogGroup": {"Ref": f"{name}Logs"}}
        assert resources[f"{name}Logs"]["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}
