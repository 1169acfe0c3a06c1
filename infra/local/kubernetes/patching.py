"""The three ways to patch an object, each by its own rules."""

from __future__ import annotations

from typing import Any

import jsonpatch
from jsonpointer import JsonPointerException

from infra.local.kubernetes.errors import ApiError, unknown_format

Obj = dict[str, Any]
# fields whose lists are merged item by item, and the key that tells items apart
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "conditions": "type",
    "ownerReferences": "uid",
    "ports": "containerPort",
    "taints": "key",
}


def apply_patch(obj: Obj, content_type: str, patch: Any) -> Obj:
    if content_type == "application/json-patch+json":
        if not isinstance(patch, list):
            raise ApiError(400, "a JSON patch is a list of operations")
        return _json_patch(obj, patch)
    if not isinstance(patch, dict):
        raise ApiError(400, "a merge patch is an object")
    kind = content_type.removeprefix("application/").removesuffix("-patch+json")
    if kind in ("merge", "strategic-merge"):
        try:
            patched = _merge(obj, patch, strategic=kind == "strategic-merge")
        except (TypeError, AttributeError) as error:
            raise ApiError(400, f"the patch does not fit the object: {error}") from error
        if not isinstance(patched.get("metadata"), dict):
            raise ApiError(400, "the patch leaves no metadata")
        return patched
    kinds = ("json-patch", "merge-patch", "strategic-merge-patch")
    raise unknown_format(", ".join(f"application/{kind}+json" for kind in kinds))


def _merge(target: Any, patch: Obj, *, strategic: bool) -> Obj:
    if strategic and patch.get("$patch") == "replace":
        return {k: v for k, v in patch.items() if k != "$patch"}
    result: Obj = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if strategic and name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            result[field] = [item for item in result.get(field) or [] if item not in value]
        elif strategic and name.startswith("$"):
            continue  # ordering hints
        elif value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = _merge(result.get(name), value, strategic=strategic)
        elif strategic and isinstance(value, list) and name in _MERGE_KEYS:
            result[name] = _merge_list(result.get(name) or [], value, _MERGE_KEYS[name])
        elif strategic and name == "finalizers":
            result[name] = [
                *(result.get(name) or []),
                *(v for v in value if v not in (result.get(name) or [])),
            ]
        else:
            result[name] = value
    return result


def _merge_list(items: list[Obj], patch: list[Obj], key: str) -> list[Obj]:
    if any(not isinstance(p, dict) for p in patch):
        raise ApiError(400, f"items merged by {key} are objects")
    if any(p.get("$patch") == "replace" for p in patch):
        return [p for p in patch if p.get("$patch") != "replace"]
    result = list(items)
    for change in patch:
        at = next((i for i, item in enumerate(result) if item.get(key) == change.get(key)), None)
        if change.get("$patch") == "delete":
            result = [item for item in result if item.get(key) != change.get(key)]
        elif at is None:
            result.append(change)
        else:
            result[at] = _merge(result[at], change, strategic=True)
    return result


def _json_patch(obj: Obj, patch: list[Obj]) -> Obj:
    try:
        patched: Obj = jsonpatch.apply_patch(obj, patch)
    except (jsonpatch.JsonPatchException, JsonPointerException, TypeError, KeyError) as error:
        words = f"the server rejected our request due to an error in our request: {error}"
        raise ApiError(422, words, "Invalid") from error
    return patched
