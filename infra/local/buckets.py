"""Takes buckets that stand already into the stack that is to have them.

A bucket outlives a MiniStack that was killed before it saved its state (S3's objects are on disk at once,
the stack is not), and a stack that was deleted; and CloudFormation creates none over it. So it is imported,
with all that is in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from infra.local import template

_BUCKET = "AWS::S3::Bucket"


def names(s3: Any) -> set[str]:
    """The buckets that there are."""
    return {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}


def adopt(
    cloudformation: Any,
    stack_name: str,
    known: Mapping[str, Any],
    parameters: Mapping[str, str],
    strays: Mapping[str, str],
) -> None:
    """Import `strays` (bucket by logical name) into the stack, whose template is `known` so far."""
    # Bare, so that the update which follows sees the rest of their properties as changes.
    bare = {
        logical: {"Type": _BUCKET, "DeletionPolicy": "Retain", "Properties": {"BucketName": bucket}}
        for logical, bucket in strays.items()
    }
    change = {"StackName": stack_name, "ChangeSetName": "adopt"}
    wait = {"Delay": 0.2, "MaxAttempts": 300}
    cloudformation.create_change_set(
        **change,
        ChangeSetType="IMPORT",
        TemplateBody=json.dumps({**known, "Resources": {**known["Resources"], **bare}}),
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value}
            for name, value in parameters.items()
            if name in known.get("Parameters", {})
        ],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        ResourcesToImport=[
            {
                "ResourceType": _BUCKET,
                "LogicalResourceId": logical,
                "ResourceIdentifier": {"BucketName": bucket},
            }
            for logical, bucket in strays.items()
        ],
    )
    cloudformation.get_waiter("change_set_create_complete").wait(**change, WaiterConfig=wait)
    cloudformation.execute_change_set(**change)
    cloudformation.get_waiter("stack_import_complete").wait(StackName=stack_name, WaiterConfig=wait)


def strays(
    there: set[str], wanted: Mapping[str, Any], known: Mapping[str, Any], parameters: Mapping[str, str]
) -> dict[str, str]:
    """The buckets of the template `wanted` that are there, and not in the stack's template `known`."""
    named = {
        logical: _name(resource.get("Properties", {}).get("BucketName"), parameters)
        for logical, resource in wanted["Resources"].items()
        if resource["Type"] == _BUCKET and logical not in known["Resources"]
    }
    return {logical: name for logical, name in named.items() if name is not None and name in there}


def _name(given: Any, parameters: Mapping[str, str]) -> str | None:
    """The name that a bucket will have, given literally or by a parameter; None if CloudFormation chooses."""
    if isinstance(given, str):
        return given
    return next((parameters[each] for each in template.references(given) if each in parameters), None)
