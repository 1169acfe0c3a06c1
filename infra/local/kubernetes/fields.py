"""An object's fields, held against the official client's own models of them. What a model knows and this
cluster does not do is refused as well: a setting ignored in silence is a lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from kubernetes.client import models
from pydantic import BaseModel, ValidationError

from infra.local.kubernetes.errors import ApiError, Findings, invalid
from infra.local.kubernetes.resources import Resource

Obj = dict[str, Any]
# Larger numbers could not be counted as seconds from now: dates end with the year 9999.
LARGEST = 2**36
_MODELS = {"Event": "CoreV1Event"}
# What is understood of the models that are not understood as a whole.
_FILES = "defaultMode optional items"
_UNDERSTOOD = {
    "V1JobSpec": "parallelism completions completionMode backoffLimit activeDeadlineSeconds template suspend "
    "ttlSecondsAfterFinished selector manualSelector podReplacementPolicy podFailurePolicy",
    "V1PodSpec": "restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds nodeName nodeSelector "
    "serviceAccountName serviceAccount automountServiceAccountToken enableServiceLinks priorityClassName "
    "priority preemptionPolicy hostname subdomain schedulerName dnsPolicy imagePullSecrets tolerations "
    "containers initContainers securityContext volumes",
    "V1Container": "name image imagePullPolicy command args workingDir terminationMessagePath ports env "
    "terminationMessagePolicy resources volumeMounts securityContext",
    "V1EnvVarSource": "fieldRef configMapKeyRef secretKeyRef",
    "V1ResourceRequirements": "requests limits",
    "V1VolumeMount": "name mountPath readOnly",
    "V1Volume": "name persistentVolumeClaim emptyDir configMap secret",
    "V1EmptyDirVolumeSource": "medium sizeLimit",
    "V1ConfigMapVolumeSource": f"name {_FILES}",
    "V1SecretVolumeSource": f"secretName {_FILES}",
    "V1ClusterRole": "apiVersion kind metadata rules",
}


def check_fields(resource: Resource, obj: Obj) -> None:
    """Of the right type and known, else 400 in the words of the real server's decoder; missing is 422."""
    model = getattr(models, _MODELS.get(resource.kind, f"V1{resource.kind}"))
    opening = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
    try:
        shown = {**({"spec": {}} if "spec" in model.model_fields else {}), **obj}
        read = model.model_validate(shown)
    except ValidationError as error:
        raise _refusal(resource, obj, opening, error) from error
    if refused := list(_not_understood(read, shown, "")):
        listed = ", ".join(f'unsupported field "{path}"' for path in refused)
        raise ApiError(400, f"{opening}not done by this cluster: {listed}")


def _refusal(resource: Resource, obj: Obj, opening: str, error: ValidationError) -> ApiError:
    words = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    found, unknown = Findings(), []
    for one in error.errors():
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in one["loc"])[1:]
        if one["type"] == "missing":
            found.required(path)
        elif one["type"] == "extra_forbidden":
            unknown.append(f'unknown field "{path}"')
        else:
            word, wanted = words.get(type(one["input"]), "value"), one["type"].removesuffix("_type")
            text = f"json: cannot unmarshal {word} into Go struct field {path} of type {wanted}"
            return ApiError(400, opening + text)
    if unknown:
        return ApiError(400, f"{opening}strict decoding error: {', '.join(unknown)}")
    return invalid(resource, obj["metadata"].get("name", ""), found)


def _not_understood(model: BaseModel, raw: Obj, path: str) -> Iterator[str]:
    names = _names(type(model))
    for key, value in raw.items():
        where = f"{path}.{key}".lstrip(".")
        if value in (None, [], {}):
            continue
        if key not in names:
            yield where
            continue
        if isinstance(value, int) and abs(value) > LARGEST:
            raise ApiError(
                400, f"json: cannot unmarshal number {value} into Go struct field {where} of type int"
            )
        inner = getattr(model, names[key])
        if isinstance(inner, BaseModel):
            yield from _not_understood(inner, value, where)
        elif isinstance(inner, list) and isinstance(inner[0], BaseModel):
            for index, item in enumerate(inner):
                yield from _not_understood(item, value[index], f"{where}[{index}]")


@cache
def _names(model: type[BaseModel]) -> dict[str, str]:
    """Of the fields that are understood, as they are in JSON and in the model."""
    known = {field.serialization_alias or name: name for name, field in model.model_fields.items()}
    understood = _UNDERSTOOD.get(model.__name__)
    return {key: known[key] for key in understood.split()} if understood else known
