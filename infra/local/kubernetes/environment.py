"""What a container sees: its variables, its arguments and the folders behind its mounts."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.local.kubernetes.sandbox import Mount
from infra.local.kubernetes.values import quantity

Obj = dict[str, Any]
Lookup = Callable[[str, str], Obj | None]  # kind of map ("configmap" or "secret"), name
BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REFERENCE = re.compile(r"\$(\$|\(([-._A-Za-z0-9]+)\))")


class Unready(Exception):
    """Something that the container needs does not exist (yet)."""


def expand(text: str, variables: dict[str, str]) -> str:
    """$(NAME) where NAME is known, $$ for one $; everything else stays as it is."""

    def replacement(found: re.Match[str]) -> str:
        if found[1] == "$":
            return "$"
        return variables.get(found[2], found[0])

    return _REFERENCE.sub(replacement, text)


def variables_of(pod: Obj, container: Obj, base: dict[str, str], lookup: Lookup) -> dict[str, str]:
    variables = dict(base)
    for entry in container.get("env") or []:
        source = entry.get("valueFrom")
        value = _sourced(pod, source, lookup) if source else expand(entry.get("value") or "", variables)
        if value is not None:
            variables[entry["name"]] = value
    return variables


def _sourced(pod: Obj, source: Obj, lookup: Lookup) -> str | None:
    if "fieldRef" in source:
        return field_of(pod, source["fieldRef"]["fieldPath"])
    kind = "configmap" if "configMapKeyRef" in source else "secret"
    reference = source.get("configMapKeyRef") or source["secretKeyRef"]
    values = content_of(kind, lookup(kind, reference["name"]))
    if values is None or reference["key"] not in values:
        if reference.get("optional"):
            return None
        name, key = reference["name"], reference["key"]
        if values is None:
            raise Unready(f'{kind} "{name}" not found')
        raise Unready(f"couldn't find key {key} in {kind} {pod['metadata']['namespace']}/{name}")
    return values[reference["key"]].decode()


def content_of(kind: str, obj: Obj | None) -> dict[str, bytes] | None:
    if obj is None:
        return None
    binary = (obj.get("data") if kind == "secret" else obj.get("binaryData")) or {}
    plain = {} if kind == "secret" else obj.get("data") or {}
    return {
        **{k: base64.b64decode(v) for k, v in binary.items()},
        **{k: v.encode() for k, v in plain.items()},
    }


def field_of(pod: Obj, path: str) -> str:
    keyed = re.match(r"^metadata\.(labels|annotations)\['(.+)'\]$", path)
    if keyed:
        return str((pod["metadata"].get(keyed[1]) or {}).get(keyed[2], ""))
    value: Any = pod
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if path in ("status.podIPs", "status.hostIPs"):
        value = ",".join(entry["ip"] for entry in value or [])
    if value is None or isinstance(value, dict | list):
        raise Unready(f"unsupported fieldPath: {path}")
    return str(value)


def prepare_volumes(pod: Obj, folder: Path, claim: Callable[[str], Path], lookup: Lookup) -> dict[str, Mount]:
    """A mount (its path still open) for each volume of the pod, its folder made and filled."""
    mounts: dict[str, Mount] = {}
    users = [m["name"] for c in pod["spec"]["containers"] for m in c.get("volumeMounts") or []]
    for volume in pod["spec"].get("volumes") or []:
        name = volume["name"]
        here = folder / "volumes" / name
        readonly, size, source = False, 0, str(here)
        if "persistentVolumeClaim" in volume:
            source = str(claim(volume["persistentVolumeClaim"]["claimName"]))
            readonly = bool(volume["persistentVolumeClaim"].get("readOnly"))
        elif "configMap" in volume or "secret" in volume:
            kind = "configmap" if "configMap" in volume else "secret"
            _write_files(here, kind, volume.get("configMap") or volume["secret"], lookup)
            readonly = True
        elif (volume.get("emptyDir") or {}).get("medium") == "Memory" and users.count(name) <= 1:
            source, size = "", int(quantity(volume["emptyDir"].get("sizeLimit") or 0))
        if source:
            Path(source).mkdir(parents=True, exist_ok=True)
        mounts[name] = {"path": "", "source": source, "readonly": readonly, "size": size}
    return mounts


def _write_files(folder: Path, kind: str, source: Obj, lookup: Lookup) -> None:
    name = source.get("name") or source.get("secretName") or ""
    values = content_of(kind, lookup(kind, name))
    if values is None and not source.get("optional"):
        raise Unready(f'{kind} "{name}" not found')
    folder.mkdir(parents=True, exist_ok=True)
    items = source.get("items") or [{"key": key, "path": key} for key in values or {}]
    for item in items:
        if item["key"] not in (values or {}):
            raise Unready(f"references non-existent {kind} key: {item['key']}")
        target = folder / item["path"]
        if folder.resolve() not in target.resolve().parents:
            raise Unready(f"path may not leave the volume: {item['path']}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((values or {})[item["key"]])
        target.chmod(item.get("mode") or source.get("defaultMode") or 0o644)


def map_paths(text: str, mounts: list[Mount]) -> str:
    """Where there is no private file tree: each mount path that starts a word becomes its folder."""
    for mount in sorted(mounts, key=lambda m: -len(m["path"])):
        if mount["source"]:
            path = re.escape(mount["path"].rstrip("/"))
            folder = mount["source"].replace("\\", "\\\\")
            text = re.sub(rf"(?<![\w./-]){path}(?=/|$|[^\w.-])", folder, text)
    return text
