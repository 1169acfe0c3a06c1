"""The three ways to patch an object, each by its own rules."""

from __future__ import annotations

from typing import Any

from infra.local.kubernetes.errors import ApiError
from infra.local.kubernetes.store import clone

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
        return _json_patch(clone(obj), patch)
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
    raise ApiError(
        415,
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json-patch+json, application/merge-patch+json, "
        "application/strategic-merge-patch+json",
    )


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


def _json_patch(document: Any, operations: list[Obj]) -> Obj:
    holder = {"": document}
    for operation in operations:
        try:
            _operate(holder, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ApiError(
                422, f"the server rejected our request due to an error in our request: {operation}", "Invalid"
            ) from error
    result: Obj = holder[""]
    return result


def _operate(holder: Obj, operation: Obj) -> None:
    name, path = operation["op"], operation["path"]
    if name == "test":
        if _find(holder, path) != operation["value"]:
            raise ValueError("test failed")
    elif name in ("add", "replace"):
        if name == "replace":
            _find(holder, path)
        _put(holder, path, operation["value"], insert=name == "add")
    elif name == "remove":
        _drop(holder, path)
    elif name in ("copy", "move"):
        value = clone({"value": _find(holder, operation["from"])})["value"]
        if name == "move":
            _drop(holder, operation["from"])
        _put(holder, path, value, insert=True)
    else:
        raise ValueError(f"unknown operation {name}")


def _steps(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise ValueError("a JSON pointer starts with /")
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")]


def _find(node: Any, path: str) -> Any:
    for step in _steps(path):
        node = node[int(step)] if isinstance(node, list) else node[step]
    return node


def _parent(holder: Obj, path: str) -> tuple[Any, str]:
    node: Any = holder
    *above, last = _steps(path)
    for step in above:
        node = node[int(step)] if isinstance(node, list) else node[step]
    return node, last


def _put(holder: Obj, path: str, value: Any, *, insert: bool) -> None:
    node, last = _parent(holder, path)
    if not isinstance(node, list):
        node[last] = value
    elif insert:
        node.insert(len(node) if last == "-" else int(last), value)
    else:
        node[int(last)] = value


def _drop(holder: Obj, path: str) -> None:
    node, last = _parent(holder, path)
    node.pop(int(last)) if isinstance(node, list) else node.pop(last)
