"""What a stage's file may hold, and that all else is refused by name before anything is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.packaging import stages
from infra.packaging.stages import BadStage

GOOD = {"JwksUrl": "https://issuer.example/jwks.json", "JwtIssuer": "https://issuer.example"}
ROLE = "arn:aws:iam::222222222222:role/trainyard"
ON_A = {"default": {"cluster": "a"}}
EKS = {
    "here": {"eks": "gpu"},
    "there": {"eks": "big", "role_arn": ROLE},
    "told": {
        "eks": "old",
        "endpoint": "https://k8s",
        "certificate_authority": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==",
    },
}
POOLS = {f"pool-{number}": {"cluster": "default"} for number in range(100)}
IMAGES = {f"framework-{number}": "registry.example/image" for number in range(50)}


def stage(folder: Path, name: str = "dev", **body: Any) -> stages.Stage:
    file = folder / "stage.json"
    file.write_text(json.dumps(body))
    return stages.read(name, str(file))


def test_a_parameter_that_the_file_leaves_out_has_the_templates_default(tmp_path: Path) -> None:
    values = stages.parameters(stage(tmp_path, parameters=GOOD | {"LogRetentionDays": 7}))
    assert values["JwksUrl"] == GOOD["JwksUrl"]
    assert values["LogRetentionDays"] == "7"
    assert values["LogGroupName"] == "/trainyard/jobs"
    assert values["JobsTableName"] == ""


def test_what_is_json_in_the_file_reaches_the_functions_as_json(tmp_path: Path) -> None:
    pools = {"a100": {"cluster": "default", "queues": ["research"]}}
    values = stages.parameters(stage(tmp_path, parameters=GOOD | {"Pools": pools}))
    assert json.loads(values["Pools"]) == pools


@pytest.mark.parametrize(
    ("change", "named", "why"),
    [
        pytest.param({"JwksUrl": None}, "JwksUrl", "missing", id="missing"),
        pytest.param({"JwtIssuer": ""}, "JwtIssuer", "missing", id="empty"),
        pytest.param({"JwtIssuer": None}, "JwtIssuer", "SignIn=user-pool", id="half an issuer"),
        pytest.param({"SignIn": "cognito"}, "SignIn", "issuer, user-pool", id="another way to sign in"),
        pytest.param({"SignIn": "user-pool"}, "JwksUrl", "does not go with", id="a pool and an issuer"),
        pytest.param({"TenantClaim": "a b"}, "TenantClaim", "[!-~]", id="no name of a claim"),
        pytest.param({"JwksURL": "x"}, "JwksURL", "unknown", id="misspelt"),
        pytest.param(
            {"LogRetentionDays": 8}, "LogRetentionDays", "allowed are 1, 3", id="not among the allowed"
        ),
        pytest.param({"LogRetentionDays": "x"}, "LogRetentionDays", "a number", id="not a number"),
        pytest.param({"ApiBurst": 0}, "ApiBurst", "1 at least", id="too small"),
        pytest.param({"TerminalUrl": "http://x"}, "TerminalUrl", "wss?://", id="not the pattern"),
        pytest.param({"CorsOrigin": "http://a.example"}, "CorsOrigin", "https://", id="plain HTTP"),
        pytest.param({"CorsOrigin": "https://a.example/"}, "CorsOrigin", "https://", id="not an origin"),
        pytest.param({"CorsOrigin": "https://a, https://b"}, "CorsOrigin", "https://", id="two origins"),
        pytest.param({"Instance": True}, "Instance", "True", id="not a text"),
        pytest.param({"JwksUrl": "http://x"}, "JwksUrl", "https://", id="keys over plain HTTP"),
        pytest.param({"JwksUrl": "file:///keys"}, "JwksUrl", "https://", id="keys in a file, in AWS"),
        pytest.param(
            {"Pools": {"a": {"cluster": "b"}}}, "Pools", "known are default", id="pool without cluster"
        ),
        pytest.param({"Pools": "{"}, "Pools", "not JSON", id="pools that are not JSON"),
        pytest.param({"Images": {"pytorch": 1}}, "Images", "a text", id="image that is no text"),
        pytest.param(
            {"Clusters": {"a": {"eks": "gpu"}}, "Pools": ON_A},
            "EksClusterArns",
            "'gpu' is missing, which Clusters.a names",
            id="cluster that may not be looked up",
        ),
        pytest.param(
            {"Clusters": {"a": {"eks": "gpu", "role_arn": ROLE}}, "Pools": ON_A},
            "EksRoleArns",
            f"{ROLE} is missing",
            id="role that may not be assumed",
        ),
        pytest.param({"VpcSubnetIds": "subnet-1"}, "VpcSecurityGroupIds", "go together", id="subnets alone"),
        pytest.param(
            {"VpcSecurityGroupIds": "sg-1"}, "VpcSubnetIds", "go together", id="security groups alone"
        ),
        pytest.param({"QueueRetrySeconds": 30}, "QueueRetrySeconds", "60 s", id="retry before the timeout"),
        pytest.param({"Pools": "x" * 4097}, "Pools", "4097 bytes", id="more than a parameter holds"),
        pytest.param(
            {"Pools": POOLS, "Images": IMAGES}, "Pools", "variables", id="more than all variables may hold"
        ),
    ],
)
def test_a_bad_parameter_is_named(tmp_path: Path, change: dict[str, Any], named: str, why: str) -> None:
    bad = stage(tmp_path, parameters=GOOD | change)
    with pytest.raises(BadStage, match=rf"stage\.json: {named}: ") as caught:
        stages.parameters(bad)
    assert why in str(caught.value)


def test_clusters_on_eks_need_what_their_lookup_and_their_sign_in_need_and_no_more(tmp_path: Path) -> None:
    here = stage(
        tmp_path,
        parameters=GOOD
        | {"Clusters": EKS, "Pools": {"default": {"cluster": "here"}}, "EksRoleArns": ROLE}
        | {"EksClusterArns": "arn:aws:eks:us-east-1:111111111111:cluster/gpu"},
    )
    assert json.loads(stages.parameters(here)["Clusters"]) == EKS


def test_keys_in_a_file_do_for_an_emulator(tmp_path: Path) -> None:
    here = stage(tmp_path, parameters=GOOD | {"JwksUrl": "file:///keys"})
    assert stages.parameters(here, emulated=True)["JwksUrl"] == "file:///keys"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"architecture": "riscv"}, "x86_64 and arm64"),
        ({"paramters": {}}, "architecture, artifacts_bucket, parameters"),
        ({"parameters": []}, "architecture, artifacts_bucket, parameters"),
    ],
    ids=["architecture", "misspelt key", "parameters are no object"],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, body: dict[str, Any], why: str) -> None:
    with pytest.raises(BadStage, match=why):
        stage(tmp_path, **body)


@pytest.mark.parametrize("name", ["", "Dev", "a b", "1", "a" * 33])
def test_a_stage_has_a_name_that_a_stack_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadStage, match="STAGE="):
        stage(tmp_path, name)


def test_a_stage_without_a_file_says_where_it_would_be() -> None:
    with pytest.raises(BadStage, match=r"infra/stages/nowhere\.json does not exist"):
        stages.read("nowhere")


@pytest.mark.parametrize("name", ["JwksUrl", "JwtIssuer", "JwtAudience", "TenantClaim", "RolesClaim"])
def test_nothing_of_an_issuer_goes_with_the_stacks_own_user_pool(tmp_path: Path, name: str) -> None:
    bad = stage(tmp_path, parameters={"SignIn": "user-pool", name: "https://issuer.example"})
    with pytest.raises(BadStage, match=rf"stage\.json: {name}: does not go with SignIn=user-pool"):
        stages.parameters(bad)


def test_what_only_aws_knows_counts_among_the_variables_too(tmp_path: Path) -> None:
    """The table, the pool's keys, its issuer, the client: 100 bytes each."""
    pool = {"SignIn": "user-pool", "Images": {"x": "y" * 3000}}
    assert stages.parameters(stage(tmp_path, parameters=pool))["SignIn"] == "user-pool"
    with pytest.raises(BadStage, match="Images: the functions' variables would have 4"):
        stages.parameters(stage(tmp_path, parameters=pool | {"Images": {"x": "y" * 3500}}))


def test_the_stage_that_the_repository_has_can_be_deployed_as_it_is() -> None:
    assert stages.parameters(stages.read("dev"))["SignIn"] == "user-pool"
