"""What each role and policy of the stack allows, as a table: for people, and for the test that holds it.

python -m infra.packaging.permissions dist/dev/sam.yaml
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HOLDERS = ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy")
LOGGING = {"logs:CreateLogStream", "logs:PutLogEvents"}


@dataclass(frozen=True, slots=True)
class Permission:
    """A statement of a role, or of a policy that roles share, in words."""

    holder: str
    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    condition: str

    @property
    def wildcards(self) -> tuple[str, ...]:
        return tuple(sorted(text for text in (*self.actions, *self.resources) if "*" in text))


def permissions(resources: Mapping[str, Any]) -> list[Permission]:
    """Of every role and managed policy in a template, by name."""
    return [
        _permission(name, statement)
        for name, body in sorted(resources.items())
        if body["Type"] in HOLDERS
        for document in _documents(body["Properties"])
        for statement in document["Statement"]
    ]


def table(found: Sequence[Permission]) -> str:
    """In Markdown; what every function may do with its own log is left out."""
    lines = ["| role or policy | may | on | if |", "|---|---|---|---|"]
    lines += [
        f"| {one.holder} | {'**not** ' if one.effect == 'Deny' else ''}{_code(one.actions)}"
        f" | {_code(one.resources)} | {_code((one.condition,)) if one.condition else ''} |"
        for one in found
        if not _is_own_log(one)
    ]
    return "\n".join(lines) + "\n"


def _is_own_log(one: Permission) -> bool:
    """A function `Sync` with the role `SyncRole` logs to `SyncLogs`."""
    function = one.holder.removesuffix("Role").replace("ApiHandler", "APIHandler")
    return set(one.actions) == LOGGING and one.resources == (f"{function}Logs",)


def _documents(properties: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "PolicyDocument" in properties:
        yield properties["PolicyDocument"]
    for policy in properties.get("Policies", []):
        yield policy["PolicyDocument"]


def _permission(holder: str, statement: Mapping[str, Any]) -> Permission:
    condition = statement.get("Condition")
    return Permission(
        holder,
        statement["Effect"],
        tuple(_listed(statement["Action"])),
        tuple(_named(resource) for resource in _listed(statement["Resource"])),
        json.dumps(condition) if condition else "",
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _named(resource: Any) -> str:
    """A resource by its name in the template: what CloudFormation makes an ARN of."""
    if isinstance(resource, str):
        return resource
    ((function, said),) = resource.items()
    match function:
        case "Fn::GetAtt":
            name, attribute = said.split(".", 1) if isinstance(said, str) else said
            return str(name) if attribute == "Arn" else f"{name}.{attribute}"
        case "Fn::Sub":
            return str(said).replace(".Arn}", "}").replace("${", "").replace("}", "")
        case "Fn::Split":
            return f"each of {said[1]['Ref']}"
        case "Ref":
            return str(said)
    raise ValueError(f"a resource by {function} has no name here yet")


def _code(texts: Sequence[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts)


if __name__ == "__main__":
    template = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(table(permissions(template["Resources"])), end="")
