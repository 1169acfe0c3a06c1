"""What CloudFormation itself refuses before anything is made: parameters that contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from infra.packaging.package import Package


@pytest.fixture(scope="module")
def template(built: Package) -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load(built.template.read_text())
    return found


def refusals(template: Mapping[str, Any], **given: str) -> list[str]:
    """What the template's rules say of the parameters; what is not given has its default."""
    values = {name: declared["Default"] for name, declared in template["Parameters"].items()} | given
    return [
        assertion["AssertDescription"]
        for rule in template["Rules"].values()
        if holds(rule.get("RuleCondition", True), values)
        for assertion in rule["Assertions"]
        if not holds(assertion["Assert"], values)
    ]


def holds(rule: Any, parameters: Mapping[str, Any]) -> Any:
    """What CloudFormation makes of a rule."""
    if not isinstance(rule, dict):
        return rule
    ((function, said),) = rule.items()
    if function == "Ref":
        return parameters[said]
    values = [holds(one, parameters) for one in said]
    match function:
        case "Fn::Equals":
            return values[0] == values[1]
        case "Fn::And":
            return all(values)
        case "Fn::Or":
            return any(values)
        case "Fn::Not":
            return not values[0]
    raise AssertionError(function)


ISSUER = {"JwksUrl": "https://issuer.example/jwks", "JwtIssuer": "https://issuer.example"}
POOL = {"SignIn": "user-pool"}
SUBNETS, GROUPS = {"VpcSubnetIds": "subnet-0a"}, {"VpcSecurityGroupIds": "sg-0a"}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        pytest.param(ISSUER, [], id="an issuer"),
        pytest.param(POOL, [], id="a pool"),
        pytest.param({}, ["JwksUrl", "JwtIssuer"], id="neither"),
        pytest.param({"JwksUrl": ISSUER["JwksUrl"]}, ["JwtIssuer"], id="keys without their issuer"),
        pytest.param({"JwtIssuer": ISSUER["JwtIssuer"]}, ["JwksUrl"], id="an issuer without keys"),
        pytest.param(POOL | ISSUER, ["JwksUrl", "JwtIssuer"], id="both"),
        *(
            pytest.param(POOL | {name: "x"}, [name], id=f"a pool and {name}")
            for name in ("JwtAudience", "TenantClaim", "RolesClaim")
        ),
        pytest.param(ISSUER | SUBNETS | GROUPS, [], id="subnets and security groups"),
        pytest.param(ISSUER | SUBNETS, ["VpcSubnetIds and VpcSecurityGroupIds"], id="subnets alone"),
        pytest.param(ISSUER | GROUPS, ["VpcSubnetIds and VpcSecurityGroupIds"], id="security groups alone"),
    ],
)
def test_parameters_that_do_not_go_together_are_named(
    template: Mapping[str, Any], given: dict[str, str], named: list[str]
) -> None:
    said = refusals(template, **given)
    assert len(said) == len(named)
    assert all(text.startswith(name) for text, name in zip(said, named, strict=True)), said
