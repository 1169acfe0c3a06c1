"""The customer's two documents, read: every endpoint with its example request and answer.

A real answer matches an example when it has the same keys and types, all the way down. What may differ is
listed by the tests, not here.
"""

from __future__ import annotations

import functools
import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "contracts"
_JSON = re.compile(r"```json\n(.*?)```", re.DOTALL)
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


@dataclass(frozen=True)
class Endpoint:
    """One endpoint as its document has it; `path` has `{name}` for each of its parameters."""

    method: str
    path: str
    status: int
    request: dict[str, Any] | None
    answer: dict[str, Any]


@functools.cache
def endpoints(document: str) -> list[Endpoint]:
    """All endpoints of `training-v1` or `jobs`, in the document's order."""
    text = html.unescape((FOLDER / f"{document}.md").read_text())
    return list(_training_v1(text) if document == "training-v1" else _jobs(text))


def endpoint(document: str, method: str, path: str) -> Endpoint:
    (found,) = [each for each in endpoints(document) if (each.method, each.path) == (method, path)]
    return found


def differences(
    example: Any, real: Any, *, nullable: set[str], open_paths: set[str], path: str = ""
) -> Iterator[str]:
    """Where `real` is unlike `example`: `open_paths` may have further keys, `nullable` keys may be null."""
    if isinstance(example, dict) and isinstance(real, dict):
        yield from (f"{path}.{key} is missing" for key in example.keys() - real.keys())
        if path not in open_paths:
            yield from (f"{path}.{key} is not in the document" for key in real.keys() - example.keys())
        for key in example.keys() & real.keys():
            if real[key] is None and key in nullable:
                continue
            inner = f"{path}.{key}"
            yield from differences(
                example[key], real[key], nullable=nullable, open_paths=open_paths, path=inner
            )
    elif isinstance(example, list) and isinstance(real, list):
        if example and not real:
            yield f"{path} is empty"
        for item in real:
            yield from differences(
                example[0], item, nullable=nullable, open_paths=open_paths, path=f"{path}[]"
            )
    elif type(example) is not type(real):
        yield f"{path} is {real!r}, where the document has {example!r}"
    elif isinstance(example, str) and _TIME.fullmatch(example) and not _TIME.fullmatch(real):
        yield f"{path} is {real!r}, which is no time like {example!r}"


def _training_v1(text: str) -> Iterator[Endpoint]:
    for section in re.split(r"\n## ", text)[1:]:
        request, _, answer = section.partition("### 响应示例")
        path, method = _one(r"接口路径\*\*: `(.+?)`", section), _one(r"请求方法\*\*: `(.+?)`", section)
        yield Endpoint(
            method, path, int(_one(r"成功响应 \((\d+)\)", answer)), _json(request), _json(answer) or {}
        )


def _jobs(text: str) -> Iterator[Endpoint]:
    for section in re.split(r"\n### ", text)[1:]:
        request, _, answer = section.partition("**响应示例：**")
        method, path = section.splitlines()[0].split()
        yield Endpoint(method, re.sub(r":(\w+)", r"{\1}", path), 200, _json(request), _json(answer) or {})


def _one(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, f"no {pattern} in {text!r}"
    return match[1]


def _json(text: str) -> dict[str, Any] | None:
    match = _JSON.search(text)
    return json.loads(match[1].replace("{...}", "{}")) if match else None
