"""Reads resources.yaml the way the embedded stack needs it.

In AWS the file is merged into Chalice's template. Here the resources that stand on their own go to MiniStack,
and some of the patches are read for what they say about the API's error answers and the event sources.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

_SUB = re.compile(r"\$\{([^!${}][^${}]*)\}")


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short tags."""


def _short_tag(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = str(value).split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_tag)


def read(path: Path) -> dict[str, Any]:
    """The file with its short tags written out (`!Ref X` → `{"Ref": "X"}`)."""
    with path.open(encoding="utf-8") as file:
        # A SafeLoader with CloudFormation's tags added: it builds plain values only.
        loaded = yaml.load(file, Loader=_Loader)
    return loaded if isinstance(loaded, dict) else {}


def standalone(template: Mapping[str, Any]) -> dict[str, Any]:
    """The part that can be deployed without Chalice's functions: whatever has a Type and refers to nothing
    that is left out."""
    parameters = template.get("Parameters", {})
    kept = {name: body for name, body in template.get("Resources", {}).items() if "Type" in body}
    while True:
        known = {*kept, *parameters}
        missing = {name for name, body in kept.items() if not _refers_within(body, known)}
        if not missing:
            break
        kept = {name: body for name, body in kept.items() if name not in missing}
    outputs = {
        name: body for name, body in template.get("Outputs", {}).items() if _refers_within(body, known)
    }
    sections = {
        "Parameters": parameters,
        "Mappings": template.get("Mappings", {}),
        "Conditions": template.get("Conditions", {}),
        "Resources": kept,
        "Outputs": outputs,
    }
    return {"AWSTemplateFormatVersion": "2010-09-09"} | {k: v for k, v in sections.items() if v}


def gateway_responses(template: Mapping[str, Any]) -> dict[str, Any]:
    """The `GatewayResponses` of the patch of Chalice's REST API, by response type."""
    properties = template.get("Resources", {}).get("RestAPI", {}).get("Properties", {})
    return dict(properties.get("GatewayResponses", {}))


def cors(template: Mapping[str, Any]) -> dict[str, Any]:
    """The `Cors` of the patch of Chalice's REST API."""
    properties = template.get("Resources", {}).get("RestAPI", {}).get("Properties", {})
    return dict(properties.get("Cors", {}))


def stream_mapping(template: Mapping[str, Any], function: str) -> dict[str, Any]:
    """The properties of a function's DynamoDB event source (batch size, retries, filters, dead letters)."""
    body = template.get("Resources", {}).get(function, {})
    for event in body.get("Properties", {}).get("Events", {}).values():
        properties = event.get("Properties", {})
        if event.get("Type") == "DynamoDB" or _is_table_stream(properties.get("Stream")):
            return dict(properties)
    return {}


def queue_mapping(template: Mapping[str, Any], function: str) -> dict[str, Any]:
    """The properties of a function's SQS event source (queue, batch size, filters)."""
    body = template.get("Resources", {}).get(function, {})
    for event in body.get("Properties", {}).get("Events", {}).values():
        properties = event.get("Properties", {})
        if "Queue" in properties:
            return dict(properties)
    return {}


def references(value: Any) -> Iterator[str]:
    """Every logical name that an intrinsic inside `value` refers to."""
    if isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "Ref":
                yield item
            elif key == "Fn::GetAtt":
                yield item[0] if isinstance(item, list) else str(item).split(".")[0]
            elif key == "Fn::Sub":
                text, given = (item, {}) if isinstance(item, str) else (item[0], item[1])
                yield from (n.split(".")[0] for n in _SUB.findall(text) if n not in given)
                yield from references(list(given.values()))
            elif key == "DependsOn":
                yield from [item] if isinstance(item, str) else item
            else:
                yield from references(item)


def _is_table_stream(stream: Any) -> bool:
    return isinstance(stream, dict) and list(stream.get("Fn::GetAtt", []))[-1:] == ["StreamArn"]


def _refers_within(body: Any, known: set[str]) -> bool:
    return all(name in known or name.startswith("AWS::") for name in references(body))
