"""Runs MiniStack and builds on it what resources.yaml says.

MiniStack saves its state only when it is asked to stop, and its streams' records not at all: what the outbox
has not read when MiniStack stops is lost, and the sync's pass over the records makes up for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from chalicelib.aws_session import AwsSession
from infra.local import buckets, template
from infra.local.config import (
    AWS_KEY_ID,
    AWS_SECRET,
    HOST,
    LOG_GROUP,
    REGION,
    RESOURCES,
    STATE_CHANGE_BUS,
    SUBMISSIONS_BUCKET,
    Local,
)
from infra.local.processes import Component

STACK = "trainyard"
PARAMETERS = {
    "JobsTableName": "trainyard-jobs",
    "LogGroupName": LOG_GROUP,
    "StateChangeBusName": STATE_CHANGE_BUS,
    "SavedQueries": "false",  # MiniStack has none
    "SubmissionsBucketName": SUBMISSIONS_BUCKET,
    "QueueRetrySeconds": "10",  # what a killed pump had in hand comes soon: here only one reader takes it
}
# What AWS keeps on disks (a day of stream records above all) is in this process's memory, and while Python's
# collector walks all of it nobody is answered: half a second at 450 MB, and again half a minute later. So it
# hardly ever walks what is old; what is young it collects as ever.
_RUN = """
import gc, runpy
gc.set_threshold(700, 10, 100_000)
runpy.run_module('ministack', run_name='__main__')
"""
_TEMPLATE_TAG = "trainyard-template"
_SETTLED = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")


class DeployFailed(RuntimeError):
    """MiniStack could not build what resources.yaml says; the message holds its reasons."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What was built: the jobs table's name, and the physical id of every resource by logical name."""

    jobs_table: str
    resources: Mapping[str, str]


def component(local: Local, environ: Mapping[str, str] = os.environ) -> Component:
    """The MiniStack process."""
    state = local.aws_state
    kept = {k: v for k, v in environ.items() if not k.startswith(("AWS_", "TRAINYARD_", "KUBECONFIG"))}
    env = kept | {
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(local.aws_port),
        "MINISTACK_REGION": REGION,
        "PERSIST_STATE": "1",
        "STATE_DIR": str(state / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(state / "s3"),
        "TMPDIR": str(state / "tmp"),
        "IOT_MTLS_ENABLED": "0",  # would listen on 8883
        "SFTP_ENABLED": "0",
        "LOG_LEVEL": "WARNING",
        "PYTHONUNBUFFERED": "1",
    }
    return Component(
        name="ministack",
        argv=(str(local.ministack_python), "-c", _RUN),
        env=env,
        is_ready=lambda: answers(local),
        port=local.aws_port,
        port_variable="TRAINYARD_AWS_PORT",
        ready_seconds=60,
        stop_seconds=60,  # it writes its state then
    )


def prepare(local: Local) -> None:
    """Make the folders that MiniStack expects."""
    for name in ("state", "s3", "tmp"):
        (local.aws_state / name).mkdir(parents=True, exist_ok=True)


def answers(local: Local) -> bool:
    """Whether MiniStack is there and ready."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{local.aws_url}/_ministack/ready", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def client(local: Local, service: str, make: Callable[..., Any] | None = None) -> Any:
    """A client of MiniStack that ignores whatever AWS settings the user's shell has; `make` takes what
    boto3.client does."""
    return (make or AwsSession().client)(
        service,
        endpoint_url=local.aws_url,
        region_name=REGION,
        aws_access_key_id=AWS_KEY_ID,
        aws_secret_access_key=AWS_SECRET,
        config=Config(retries={"max_attempts": 2}, proxies={}, connect_timeout=5, read_timeout=60),
    )


def deploy(local: Local, resources: Path = RESOURCES) -> Deployed:
    """Create or update the stack; does nothing when it stands as the template says. Raises DeployFailed."""
    body = template.standalone(template.read(resources))
    text = json.dumps(body, sort_keys=True, default=str)
    cloudformation = client(local, "cloudformation")
    try:
        _bring_about(local, cloudformation, text)
        deployed = _describe(cloudformation, body)
        _set_ttl(local, body, deployed)
    except (ClientError, BotoCoreError) as error:
        raise DeployFailed(f"{type(error).__name__}: {error}") from error
    local.deployed_file.write_text(json.dumps(asdict(deployed), indent=2) + "\n")
    return deployed


def deployed(local: Local) -> Deployed:
    """What the last deploy built. Raises DeployFailed when there was none."""
    try:
        return Deployed(**json.loads(local.deployed_file.read_text()))
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise DeployFailed(f"nothing is deployed ({local.deployed_file}: {error}); run make up") from error


def _bring_about(local: Local, cloudformation: Any, text: str) -> None:
    digest = hashlib.sha256((text + json.dumps(PARAMETERS)).encode()).hexdigest()
    stack = _find_stack(cloudformation)
    if stack is not None and not _is_whole(local, cloudformation, stack):
        cloudformation.delete_stack(StackName=STACK)
        _wait(cloudformation, "stack_delete_complete")
        stack = None
    if stack is not None and digest in [tag["Value"] for tag in stack.get("Tags", [])]:
        return
    if _adopt_buckets(local, cloudformation, stack, text):
        stack = _find_stack(cloudformation)
    act, waiter = (
        (cloudformation.create_stack, "stack_create_complete")
        if stack is None
        else (cloudformation.update_stack, "stack_update_complete")
    )
    act(
        StackName=STACK,
        TemplateBody=text,
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value}
            for name, value in PARAMETERS.items()
            if name in json.loads(text).get("Parameters", {})
        ],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        Tags=[{"Key": _TEMPLATE_TAG, "Value": digest}],
    )
    _wait(cloudformation, waiter)


def _find_stack(cloudformation: Any) -> dict[str, Any] | None:
    for page in cloudformation.get_paginator("describe_stacks").paginate():
        for stack in page["Stacks"]:
            if stack["StackName"] == STACK and stack["StackStatus"] != "DELETE_COMPLETE":
                return dict(stack)
    return None


def _is_whole(local: Local, cloudformation: Any, stack: Mapping[str, Any]) -> bool:
    """Whether the stack settled and its tables are really there (each service saves its state on its own)."""
    if stack["StackStatus"] not in _SETTLED:
        return False
    tables = set(client(local, "dynamodb").list_tables()["TableNames"])
    resources = cloudformation.describe_stack_resources(StackName=STACK)["StackResources"]
    return all(
        resource["PhysicalResourceId"] in tables
        for resource in resources
        if resource["ResourceType"] == "AWS::DynamoDB::Table"
    )


def _adopt_buckets(local: Local, cloudformation: Any, stack: Mapping[str, Any] | None, text: str) -> bool:
    """Whether there were buckets to be taken into the stack before it is brought about."""
    known = cloudformation.get_template(StackName=STACK)["TemplateBody"] if stack else {"Resources": {}}
    known = json.loads(known) if isinstance(known, str) else known
    there = buckets.names(client(local, "s3"))
    if strays := buckets.strays(there, json.loads(text), known, PARAMETERS):
        buckets.adopt(cloudformation, STACK, known, PARAMETERS, strays)
    return bool(strays)


def _wait(cloudformation: Any, waiter: str) -> None:
    try:
        cloudformation.get_waiter(waiter).wait(
            StackName=STACK, WaiterConfig={"Delay": 0.2, "MaxAttempts": 300}
        )
    except WaiterError as error:
        events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
        reasons = [
            f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', event['ResourceStatus'])}"
            for event in events
            if "FAILED" in event["ResourceStatus"]
        ]
        raise DeployFailed("; ".join(reasons) or str(error)) from error


def _describe(cloudformation: Any, body: Mapping[str, Any]) -> Deployed:
    resources = {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for resource in cloudformation.describe_stack_resources(StackName=STACK)["StackResources"]
    }
    tables = [name for name, _ in _tables(body)]
    if not tables:
        raise DeployFailed("resources.yaml has no AWS::DynamoDB::Table")
    return Deployed(jobs_table=resources[tables[0]], resources=resources)


def _set_ttl(local: Local, body: Mapping[str, Any], deployed: Deployed) -> None:
    """MiniStack's CloudFormation leaves a table's TTL out."""
    dynamodb = client(local, "dynamodb")
    for name, properties in _tables(body):
        wanted = properties.get("TimeToLiveSpecification")
        table = deployed.resources[name]
        if not wanted:
            continue
        now = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        if now.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING"):
            dynamodb.update_time_to_live(
                TableName=table,
                TimeToLiveSpecification={"AttributeName": wanted["AttributeName"], "Enabled": True},
            )


def _tables(body: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [
        (name, resource["Properties"])
        for name, resource in body["Resources"].items()
        if resource["Type"] == "AWS::DynamoDB::Table"
    ]
