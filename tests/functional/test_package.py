"""`make package` writes a template that CloudFormation understands; its functions may do what they do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).parents[2]
SHIPPED = (
    "app.py",
    "chalicelib",
    ".chalice/config.json",
    ".chalice/policy.json",
    "requirements.txt",
    "infra",
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `chalice package` wrote, out of a copy: it keeps its own state beside the sources."""
    copy, out = tmp_path_factory.mktemp("repo"), tmp_path_factory.mktemp("package")
    for name in SHIPPED:
        source, target = REPO / name, copy / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    command = ["package", "--merge-template", "infra/resources.yaml", "--template-format", "yaml", str(out)]
    subprocess.run(
        [Path(sys.executable).with_name("chalice"), *command],
        cwd=copy,
        env={**os.environ, "AWS_DEFAULT_REGION": "us-east-1"},
        check=True,
        timeout=600,
    )
    return out


@pytest.fixture(scope="module")
def resources(package: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((package / "sam.yaml").read_text())["Resources"]
    return found


def actions(resources: Mapping[str, Any], role: str) -> set[str]:
    statements = [
        statement
        for policy in resources[role]["Properties"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    found: set[str] = set()
    for statement in statements:
        action = statement["Action"]
        found |= {action} if isinstance(action, str) else set(action)
    return {action for action in found if not action.startswith("logs:")}


def lint(template: Path) -> None:
    tool = Path(sys.executable).with_name("cfn-lint")
    found = subprocess.run([tool, template], capture_output=True, text=True, check=False, timeout=120)
    assert found.returncode == 0, found.stdout


def test_cloudformation_understands_the_template(package: Path) -> None:
    lint(package / "sam.yaml")


def test_cloudformation_understands_the_sample_rule_for_state_changes() -> None:
    lint(REPO / "docs" / "events" / "slack-rule.yaml")


def test_what_ships_is_the_app_and_nothing_of_the_embedded_stack(package: Path) -> None:
    names = zipfile.ZipFile(package / "deployment.zip").namelist()
    assert {"app.py", "chalicelib/bootstrap.py"} <= set(names)
    assert any(name.startswith("kubernetes/") for name in names)
    assert not [
        name for name in names if name.startswith(("infra/", "tests/", "moto/", "boto3/", "sklearn/"))
    ]


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("AuthorizerRole", set()),
        ("ApiHandlerRole", {"GetItem", "BatchGetItem", "PutItem", "UpdateItem", "Query"}),
    ],
)
def test_a_role_allows_the_table_calls_that_its_function_makes_and_no_more(
    resources: Mapping[str, Any], role: str, allowed: set[str]
) -> None:
    assert actions(resources, role) == {f"dynamodb:{name}" for name in allowed}


def test_who_tells_of_state_changes_reads_the_stream_and_who_tells_of_anything_may_tell_one_bus(
    resources: Mapping[str, Any],
) -> None:
    assert actions(resources, "StateChangesRole") == {
        *(f"dynamodb:{name}" for name in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")),
        "sqs:SendMessage",
        "events:PutEvents",
    }
    told = {
        (role, str(statement["Resource"]))
        for role, body in resources.items()
        if body["Type"] == "AWS::IAM::Role"
        for policy in body["Properties"].get("Policies", [])
        for statement in policy["PolicyDocument"]["Statement"]
        if "events:PutEvents" in statement["Action"]
    }
    bus = str({"Fn::GetAtt": ["StateChangeBus", "Arn"]})
    assert told == {("StateChangesRole", bus), ("SyncRole", bus)}
    for name in ("StateChanges", "Sync"):
        variables = resources[name]["Properties"]["Environment"]["Variables"]
        assert variables["TRAINYARD_STATE_CHANGE_BUS"] == {"Ref": "StateChangeBus"}
    source = resources["StateChanges"]["Properties"]["Events"]["StateChangesDynamodbEventSource"][
        "Properties"
    ]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert "MaximumRetryAttempts" not in source, "a change is tried for as long as the stream has it"


def test_only_the_api_reads_what_jobs_printed_and_nobody_writes_it(resources: Mapping[str, Any]) -> None:
    group = {"Fn::GetAtt": ["JobsLogGroup", "Arn"]}
    found = [
        (role, sorted(statement["Action"]))
        for role, body in resources.items()
        if body["Type"] == "AWS::IAM::Role"
        for policy in body["Properties"].get("Policies", [])
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Resource"] == group
    ]
    assert found == [("ApiHandlerRole", ["logs:DescribeLogStreams", "logs:GetLogEvents"])]


def test_the_stream_hands_over_just_the_records_that_need_the_outbox(resources: Mapping[str, Any]) -> None:
    source = resources["Outbox"]["Properties"]["Events"]["OutboxDynamodbEventSource"]["Properties"]
    patterns = [
        json.loads(one["Pattern"])["dynamodb"]["NewImage"] for one in source["FilterCriteria"]["Filters"]
    ]
    assert all(pattern.pop("sk") == {"S": ["JOB"]} for pattern in patterns)
    assert patterns == [
        {"status": {"S": ["pending"]}, "submitted_at": {"S": [{"exists": False}]}},
        {"status": {"S": ["stopping"]}},
        {"deleted_at": {"S": [{"exists": True}]}},
    ]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_the_api_signs_tickets_with_a_generated_secret(resources: Mapping[str, Any]) -> None:
    told = resources["APIHandler"]["Properties"]["Environment"]["Variables"]
    assert told["TRAINYARD_TERMINAL_SECRET"] == {
        "Fn::If": [
            "TerminalsAreSetUp",
            {"Fn::Sub": "{{resolve:secretsmanager:${TerminalSecret}}}"},
            "",
        ]
    }
    assert resources["TerminalSecret"]["Properties"]["GenerateSecretString"]["PasswordLength"] >= 32
    assert "TRAINYARD_TERMINAL_SECRET" not in json.dumps(resources["Outbox"])


def test_every_function_is_told_its_table_and_its_issuer(package: Path) -> None:
    template = yaml.safe_load((package / "sam.yaml").read_text())
    told = template["Globals"]["Function"]["Environment"]["Variables"]
    assert {"TRAINYARD_JOBS_TABLE", "TRAINYARD_LOG_GROUP", "TRAINYARD_JWKS_URL", "TRAINYARD_POOLS"} <= set(
        told
    )
