"""Deploys a stage as one CloudFormation stack, and removes it.

    python -m infra.packaging.deploy up --stage dev
    python -m infra.packaging.deploy down --stage dev

It drives the AWS CLI, version 1 or 2, so that whatever signs a person in there signs this in too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.local import template
from infra.local.config import REPO, RESOURCES
from infra.packaging import package, stages
from infra.packaging.measure import NotWhole
from infra.packaging.package import CannotPackage
from infra.packaging.stages import BadStage, Stage

# What `up` prints of the stack's outputs, where it has them.
SHOWN = {
    "EndpointURL": "API",
    "SubmissionsBucketName": "bucket",
    "JobsTableName": "table",
    "DashboardUrl": "dashboard",
    "UserPoolId": "user pool",
    "UserPoolClientId": "client",
}


class DeployFailed(RuntimeError):
    """The message is the AWS CLI's, or says what is missing."""


class Aws:
    """The AWS CLI. Raises DeployFailed."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        found = shutil.which("aws", path=environ.get("PATH"))
        if found is None:
            raise DeployFailed(
                "the AWS CLI is missing: https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html"
                " (pip install awscli, in a venv of its own, does too)"
            )
        self._aws = found
        self._environ = {**environ, "AWS_PAGER": ""}

    def text(self, *words: str) -> str:
        """What a command prints."""
        done = subprocess.run([self._aws, *words], env=self._environ, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise DeployFailed(f"aws {' '.join(words[:2])}: {said}")
        return done.stdout.strip()

    def json(self, *words: str) -> Any:
        return json.loads(self.text(*words, "--output", "json"))

    def region(self) -> str:
        named = self._environ.get("AWS_REGION") or self._environ.get("AWS_DEFAULT_REGION")
        try:
            named = named or self.text("configure", "get", "region")
        except DeployFailed:
            named = None
        if not named:
            raise DeployFailed("no region is set: AWS_REGION=…, or aws configure")
        return named

    def account(self) -> str:
        return self.text("sts", "get-caller-identity", "--query", "Account", "--output", "text")


def up(stage: Stage, out: Path, aws: Aws, *, emulated: bool) -> dict[str, str]:
    """Package and deploy; returns the stack's outputs. Raises BadStage, CannotPackage, DeployFailed."""
    values = stages.parameters(stage, emulated=emulated)
    if emulated:
        values["SavedQueries"] = "false"
    account, region = aws.account(), aws.region()
    print(package.report(package.build(stage, out, measured=not emulated)), flush=True)
    bucket = _artifacts_bucket(stage, aws, account, region)
    where = ("--s3-bucket", bucket, "--s3-prefix", stage.stack)
    _say(f"uploading to s3://{bucket}/{stage.stack}")
    packaged = str(out / "packaged.yaml")
    source = ("--template-file", str(out / "sam.yaml"), "--output-template-file", packaged)
    aws.text("cloudformation", "package", *source, *where)
    _say(f"deploying {stage.stack} to {account} in {region}")
    bring_about(aws, stage, values, ("--template-file", packaged, *where))
    return _outputs(aws, stage)


def bring_about(aws: Aws, stage: Stage, values: Mapping[str, str], source: Sequence[str]) -> None:
    """Create or update the stack. Raises DeployFailed, with CloudFormation's own reasons."""
    overrides = [f"{name}={value}" for name, value in values.items()]
    try:
        aws.text(
            *("cloudformation", "deploy", "--stack-name", stage.stack, *source),
            *("--capabilities", "CAPABILITY_IAM", "--no-fail-on-empty-changeset"),
            *("--parameter-overrides", *overrides),
        )
    except DeployFailed as error:
        raise DeployFailed("\n".join([str(error), *_reasons(aws, stage)])) from error


def down(stage_name: str, aws: Aws) -> dict[str, str]:
    """Delete the stack; returns what is kept of it: the physical ids by logical name. Raises BadStage,
    DeployFailed."""
    stack = stages.stack_name(stage_name)
    found = aws.json("cloudformation", "describe-stack-resources", "--stack-name", stack)["StackResources"]
    kept = _retained()
    left = {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for resource in found
        if resource["LogicalResourceId"] in kept and resource["ResourceStatus"] != "DELETE_COMPLETE"
    }
    _say(f"deleting {stack}")
    aws.text("cloudformation", "delete-stack", "--stack-name", stack)
    aws.text("cloudformation", "wait", "stack-delete-complete", "--stack-name", stack)
    return left


def _artifacts_bucket(stage: Stage, aws: Aws, account: str, region: str) -> str:
    """The bucket that packages and templates are uploaded to; one of our own is made where none is named."""
    if stage.artifacts_bucket:
        return stage.artifacts_bucket
    bucket = f"trainyard-artifacts-{account}-{region}"
    try:
        aws.text("s3api", "head-bucket", "--bucket", bucket, "--expected-bucket-owner", account)
    except DeployFailed:
        _say(f"making the bucket {bucket}")
        # us-east-1 is where a bucket is made that names no place, and no place's name there.
        place = (
            () if region == "us-east-1" else ("--create-bucket-configuration", f"LocationConstraint={region}")
        )
        aws.text("s3api", "create-bucket", "--bucket", bucket, *place)
        closed = (
            "BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true"
        )
        aws.text(
            *("s3api", "put-public-access-block", "--bucket", bucket),
            *("--public-access-block-configuration", closed),
        )
    return bucket


def _outputs(aws: Aws, stage: Stage) -> dict[str, str]:
    (stack,) = aws.json("cloudformation", "describe-stacks", "--stack-name", stage.stack)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _reasons(aws: Aws, stage: Stage) -> list[str]:
    """What failed, the newest first: the AWS CLI only says that something did."""
    try:
        events = aws.json("cloudformation", "describe-stack-events", "--stack-name", stage.stack)[
            "StackEvents"
        ]
    except DeployFailed:
        return []
    return [
        f"  {event['LogicalResourceId']}: {event.get('ResourceStatusReason', event['ResourceStatus'])}"
        for event in events
        if "FAILED" in event["ResourceStatus"]
    ][:10]


def _retained() -> set[str]:
    resources = template.read(RESOURCES)["Resources"]
    keeping = ("Retain", "RetainExceptOnCreate")
    return {name for name, body in resources.items() if body.get("DeletionPolicy") in keeping}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="deploy")
    parser.add_argument("act", choices=("up", "down"))
    parser.add_argument("--stage", required=True)
    parser.add_argument("--stage-file", default="")
    given = parser.parse_args(arguments)
    try:
        if given.act == "up":
            stage = stages.read(given.stage, given.stage_file)
            emulated = bool(os.environ.get("AWS_ENDPOINT_URL"))
            outputs = up(stage, REPO / "dist" / stage.name, Aws(), emulated=emulated)
            for name, label in SHOWN.items():
                if name in outputs:
                    print(f"{label:<10} {outputs[name]}")
        else:
            for name, left in down(given.stage, Aws()).items():
                print(f"kept       {name}: {left}")
            print("kept       the bucket with the packages; docs/deploying.md says how to remove all of it")
    except (BadStage, CannotPackage, NotWhole, DeployFailed) as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
