"""A stage's file says what it deploys with; all of it is checked before anything is made.

    {"architecture": "arm64", "artifacts_bucket": "…", "parameters": {"JwksUrl": "https://…", "Pools": {…}}}

The parameters are those of infra/resources.yaml. What the file leaves out has the template's default, also
over a stack that was deployed with another value: the file alone says what a stage is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chalicelib.settings import InvalidSetting, load
from infra.local import functions, template
from infra.local.config import REPO, RESOURCES

ARCHITECTURES = ("x86_64", "arm64")
USER_POOL = "user-pool"  # SignIn: the stack makes a Cognito user pool, which is the issuer
_OF_AN_ISSUER = ("JwksUrl", "JwtIssuer")
_OF_ITS_TOKENS = ("JwtAudience", "TenantClaim", "RolesClaim")
QUEUE_READERS = ("uploads", "upload_status")
MAX_VALUE_BYTES = 4096  # of a CloudFormation parameter, and of all variables of a Lambda function
ALLOWED_FOR_BYTES = 100  # a variable whose value only AWS knows: an ARN, a URL, a table's name
_KEYS = {"architecture", "artifacts_bucket", "parameters"}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


class BadStage(ValueError):
    """The stage's file cannot be deployed; the message names the parameter."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What the file holds."""

    name: str
    file: Path
    architecture: str
    artifacts_bucket: str | None
    given: Mapping[str, Any]

    @property
    def stack(self) -> str:
        return stack_name(self.name)


def stack_name(stage: str) -> str:
    """The stack of the stage of that name. Raises BadStage."""
    if not _NAME.fullmatch(stage):
        raise BadStage(
            f"STAGE={stage!r}: a letter, then letters, digits and '-', all lower-case, are allowed"
        )
    return f"trainyard-{stage}"


def read(name: str, path: str = "") -> Stage:
    """The stage of that name, by default out of infra/stages. Raises BadStage."""
    stack_name(name)
    file = Path(path) if path else REPO / "infra" / "stages" / f"{name}.json"
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadStage(f"{file} does not exist: it holds the parameters of {name}") from error
    except ValueError as error:
        raise BadStage(f"{file} is not JSON: {error}") from error
    if not isinstance(body, dict) or set(body) - _KEYS or not isinstance(body.get("parameters", {}), dict):
        raise BadStage(f"{file}: an object with {', '.join(sorted(_KEYS))} is allowed")
    architecture = body.get("architecture", ARCHITECTURES[0])
    if architecture not in ARCHITECTURES:
        raise BadStage(f"{file}: architecture={architecture!r}: {' and '.join(ARCHITECTURES)} are allowed")
    return Stage(name, file, architecture, body.get("artifacts_bucket"), body.get("parameters", {}))


def parameters(stage: Stage, *, emulated: bool = False, resources: Path = RESOURCES) -> dict[str, str]:
    """Every parameter of the template with its value. Raises BadStage. `emulated`: not in AWS, where a JWKS
    may be a file."""
    body = template.read(resources)
    known: Mapping[str, Mapping[str, Any]] = body["Parameters"]
    if unknown := sorted(set(stage.given) - set(known)):
        raise _bad(stage, unknown[0], f"unknown; known are {', '.join(sorted(known))}")
    values = {}
    for name, declared in known.items():
        given = stage.given.get(name)
        values[name] = str(declared.get("Default", "")) if given is None else _text(stage, name, given)
        if not values[name] and "Default" not in declared:
            raise _bad(stage, name, "missing")
        _check(stage, name, values[name], declared)
    _check_sign_in(stage, values, ("https://", "file://") if emulated else ("https://",))
    _check_together(stage, values, body)
    return values


def makes_user_pool(stage: Stage) -> bool:
    return bool(stage.given.get("SignIn") == USER_POOL)


def _text(stage: Stage, name: str, given: Any) -> str:
    """A value as CloudFormation takes it: what is JSON in the file stays JSON."""
    if isinstance(given, bool) or not isinstance(given, str | int | dict | list):
        raise _bad(stage, name, f"{given!r}: a text, a whole number or an object is allowed")
    return given if isinstance(given, str) else json.dumps(given, separators=(",", ":"))


def _check(stage: Stage, name: str, value: str, declared: Mapping[str, Any]) -> None:
    """What CloudFormation would check, and only after the package is uploaded."""
    if declared.get("Type") == "Number" and not re.fullmatch(r"-?\d+(\.\d+)?", value):
        raise _bad(stage, name, f"{value!r}: a number is allowed")
    if "MinValue" in declared and float(value) < declared["MinValue"]:
        raise _bad(stage, name, f"{value!r}: {declared['MinValue']} at least is allowed")
    allowed = [str(each) for each in declared.get("AllowedValues", [])]
    if allowed and value not in allowed:
        raise _bad(stage, name, f"{value!r}: allowed are {', '.join(allowed)}")
    if "AllowedPattern" in declared and not re.fullmatch(declared["AllowedPattern"], value):
        raise _bad(stage, name, f"{value!r}: what matches {declared['AllowedPattern']} is allowed")
    if len(value.encode()) > MAX_VALUE_BYTES:
        raise _bad(stage, name, f"{len(value.encode())} bytes: at most {MAX_VALUE_BYTES} are allowed")


def _check_sign_in(stage: Stage, values: Mapping[str, str], schemes: tuple[str, ...]) -> None:
    """That tokens have one issuer: somebody's, or the stack's own user pool."""
    if values["SignIn"] == USER_POOL:
        if given := [name for name in (*_OF_AN_ISSUER, *_OF_ITS_TOKENS) if values[name]]:
            raise _bad(stage, given[0], f"does not go with SignIn={USER_POOL}: leave one of them out")
        return
    if missing := [name for name in _OF_AN_ISSUER if not values[name]]:
        raise _bad(
            stage, missing[0], f"missing; without an issuer, SignIn={USER_POOL} makes a Cognito user pool"
        )
    if not values["JwksUrl"].startswith(schemes):
        raise _bad(stage, "JwksUrl", f"{values['JwksUrl']!r}: an {' or '.join(schemes)} URL is allowed")


def _check_together(stage: Stage, values: Mapping[str, str], body: Mapping[str, Any]) -> None:
    """What each parameter allows and all of them together do not."""
    told = {variable: values[parameter] for variable, parameter in _named(body)}
    try:
        load(told)
    except InvalidSetting as error:
        culprit = next((name for name, _ in _named(body) if name in str(error)), "")
        parameter = dict(_named(body)).get(culprit, "parameters")
        raise _bad(stage, parameter, str(error)) from error
    for name, other in (("VpcSubnetIds", "VpcSecurityGroupIds"), ("VpcSecurityGroupIds", "VpcSubnetIds")):
        if values[other] and not values[name]:
            raise _bad(stage, name, f"missing: {other} is given, and they go together")
    _check_clusters(stage, load(told).clusters, values)
    slowest = max(functions.timeout_seconds(reader) for reader in QUEUE_READERS)
    if float(values["QueueRetrySeconds"]) < slowest:
        raise _bad(
            stage,
            "QueueRetrySeconds",
            f"{values['QueueRetrySeconds']}: shorter than the functions that read the queues may take"
            f" ({slowest:g} s)",
        )
    if (total := _variables_bytes(body, values)) > MAX_VALUE_BYTES:
        longest = max(dict(_named(body)).items(), key=lambda pair: len(values[pair[1]]))[1]
        raise _bad(
            stage,
            longest,
            f"the functions' variables would have {total} bytes, and {MAX_VALUE_BYTES} at most",
        )


def _check_clusters(
    stage: Stage, clusters: Mapping[str, Mapping[str, str]], values: Mapping[str, str]
) -> None:
    """That the functions may look up, and sign in to, the clusters on EKS that they are told of."""
    known = [arn.rpartition("/")[2] for arn in values["EksClusterArns"].split(",")]
    for name, cluster in clusters.items():
        role, is_looked_up = cluster.get("role_arn"), "eks" in cluster and "endpoint" not in cluster
        if role and role not in values["EksRoleArns"].split(","):
            raise _bad(stage, "EksRoleArns", f"{role} is missing, which Clusters.{name} names")
        if is_looked_up and not role and cluster["eks"] not in known:
            raise _bad(stage, "EksClusterArns", f"{cluster['eks']!r} is missing, which Clusters.{name} names")


def _variables_bytes(body: Mapping[str, Any], values: Mapping[str, str]) -> int:
    """What the variables of the function that has most of them take, names and values, at most."""
    shared, *own = _told(body)
    functions = [{**shared, **more} for more in own]
    return max(
        sum(len(name) + _bytes(value, values) for name, value in variables.items()) for variables in functions
    )


def _bytes(value: Any, values: Mapping[str, str]) -> int:
    match value:
        case str():
            return len(value.encode())
        case {"Ref": parameter} if parameter in values:
            return len(values[parameter].encode())
        case {"Fn::If": [_, *branches]}:
            return max(_bytes(branch, values) for branch in branches)
    return ALLOWED_FOR_BYTES


def _named(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The functions' variables that are parameters, be it only on a condition: (variable, parameter)."""
    for variables in _told(body):
        for variable, value in variables.items():
            yield from ((variable, name) for name in template.references(value) if name in body["Parameters"])


def _told(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The variables of all functions, and then each one's own."""
    patches = (patch["Properties"] for patch in body["Resources"].values() if "Type" not in patch)
    for patch in (body.get("Globals", {}).get("Function", {}), *patches):
        yield patch.get("Environment", {}).get("Variables", {})


def _bad(stage: Stage, parameter: str, what: str) -> BadStage:
    return BadStage(f"{stage.file}: {parameter}: {what}")
