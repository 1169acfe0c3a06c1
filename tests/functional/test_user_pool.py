"""The Cognito user pool of a stage without an issuer of its own, and the template of a stage with one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from chalicelib.services.caller import Role
from infra.packaging import user_pool
from infra.packaging.package import Package
from infra.packaging.user_pool import CONDITION

CHINA = "cn-north-1"  # which has no user pools


@pytest.fixture(scope="module")
def template(built: Package) -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load(built.template.read_text())
    return found


@pytest.fixture(scope="module")
def pool(template: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the stage makes for it, by name."""
    return {
        name: body["Properties"]
        for name, body in template["Resources"].items()
        if body["Type"].startswith("AWS::Cognito::")
    }


def test_users_and_their_groups_outlive_the_stack(
    template: Mapping[str, Any], pool: Mapping[str, Any]
) -> None:
    for name in pool:
        body = template["Resources"][name]
        assert body["Condition"] == CONDITION
        assert (body["DeletionPolicy"], body["UpdateReplacePolicy"]) == ("Retain", "Retain"), name
    assert pool["UserPool"]["DeletionProtection"] == "ACTIVE"


def test_only_an_admin_makes_users_and_says_whose_they_are(pool: Mapping[str, Any]) -> None:
    assert pool["UserPool"]["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": True}
    assert [attribute["Name"] for attribute in pool["UserPool"]["Schema"]] == ["tenant"]
    client = pool["UserPoolClient"]
    assert "custom:tenant" in client["ReadAttributes"], "else no token would have it"
    assert client["WriteAttributes"] == ["name"], "an empty list is none, and none is all but custom ones"


def test_a_client_without_a_secret_signs_in_by_password_and_hears_of_no_user_that_is_none(
    pool: Mapping[str, Any],
) -> None:
    client = pool["UserPoolClient"]
    assert client["GenerateSecret"] is False
    assert set(client["ExplicitAuthFlows"]) == {
        f"ALLOW_{flow}_AUTH" for flow in ("USER_SRP", "USER_PASSWORD", "REFRESH_TOKEN")
    }
    assert client["PreventUserExistenceErrors"] == "ENABLED"
    assert client["EnableTokenRevocation"] is True
    assert not [name for name in client if "OAuth" in name], "there are no pages to sign in on"


def test_the_groups_are_the_roles(pool: Mapping[str, Any]) -> None:
    groups = {body["GroupName"] for body in pool.values() if "GroupName" in body}
    assert groups == set(Role)


def test_the_functions_take_the_pools_tokens_and_only_its_clients(template: Mapping[str, Any]) -> None:
    told = template["Globals"]["Function"]["Environment"]["Variables"]
    issuer = "https://${UserPool.ProviderName}"
    assert {name: value["Fn::If"] for name, value in told.items() if "Fn::If" in value} == {
        "TRAINYARD_JWKS_URL": [
            CONDITION,
            {"Fn::Sub": f"{issuer}/.well-known/jwks.json"},
            {"Ref": "JwksUrl"},
        ],
        "TRAINYARD_JWT_ISSUER": [CONDITION, {"Fn::Sub": issuer}, {"Ref": "JwtIssuer"}],
        "TRAINYARD_JWT_AUDIENCE": [CONDITION, {"Ref": "UserPoolClient"}, {"Ref": "JwtAudience"}],
        "TRAINYARD_TENANT_CLAIM": [CONDITION, "custom:tenant", {"Ref": "TenantClaim"}],
        "TRAINYARD_ROLES_CLAIM": [CONDITION, "cognito:groups", {"Ref": "RolesClaim"}],
    }


def test_a_stage_with_an_issuer_can_be_deployed_where_there_are_no_user_pools(
    template: Mapping[str, Any], tmp_path: Path
) -> None:
    """CloudFormation takes no template with a type that the region lacks, whatever its conditions."""
    without = user_pool.without(template)
    gone = set(template["Resources"]) - set(without["Resources"])
    assert gone == {"UserPool", "UserPoolClient", "Viewers", "Members", "Admins"}
    told = without["Globals"]["Function"]["Environment"]["Variables"]
    assert told["TRAINYARD_JWKS_URL"] == {"Ref": "JwksUrl"}
    file = tmp_path / "sam.yaml"
    file.write_text(yaml.safe_dump(without))
    command = [str(Path(sys.executable).with_name("cfn-lint")), "-r", CHINA, "--", str(file)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert found.returncode == 0, found.stdout
