"""GET …/pods/{name}/log: which container, from where, and for how long to follow."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from aiohttp import web

from infra.local.kubernetes.asked import is_number
from infra.local.kubernetes.errors import ApiError
from infra.local.kubernetes.logs import LogReader, Options
from infra.local.kubernetes.node import Node
from infra.local.kubernetes.registry import Registry
from infra.local.kubernetes.resources import PODS
from infra.local.kubernetes.values import now, parse_time
from infra.local.kubernetes.watching import CLOSING

Obj = dict[str, Any]
FOLLOW_EVERY = 0.1


async def serve_log(
    request: web.Request, registry: Registry, node: Node, namespace: str, name: str
) -> web.StreamResponse:
    pod = registry.get(PODS, namespace, name)
    container = container_of(request, pod)
    previous = flag(request, "previous")
    folder = node.run_folder(pod, container, previous=previous)
    if folder is None:
        raise _not_there(pod, container, previous)
    path = folder / "log"
    reader = LogReader(path, _options(request))
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    try:
        while True:
            over = not flag(request, "follow") or not node.still_writes(pod, path)
            for piece in reader.read():
                await response.write(piece)
            if over or reader.exhausted or request.app[CLOSING].is_set():
                break
            await asyncio.sleep(FOLLOW_EVERY)
        await response.write_eof()
    except (ConnectionResetError, ConnectionAbortedError):
        return response  # the client went away
    return response


def container_of(request: web.Request, pod: Obj) -> str:
    names = [c["name"] for c in pod["spec"]["containers"]]
    every = names + [c["name"] for c in pod["spec"].get("initContainers") or []]
    asked = request.query.get("container", "")
    pod_name = pod["metadata"]["name"]
    if asked and asked not in every:
        raise ApiError(400, f"container {asked} is not valid for pod {pod_name}")
    if not asked and len(every) > 1:
        words = f"a container name must be specified for pod {pod_name}, choose one of: [{' '.join(names)}]"
        init = f" or one of the init containers: [{' '.join(every[len(names) :])}]" if every != names else ""
        raise ApiError(400, words + init)
    return asked or names[0]


def _not_there(pod: Obj, container: str, previous: bool) -> ApiError:
    name, status = pod["metadata"]["name"], pod["status"]
    if previous:
        return ApiError(400, f'previous terminated container "{container}" in pod "{name}" not found')
    if not pod["spec"].get("nodeName"):
        return ApiError(400, f"pod {name} does not have a host assigned")
    states = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
    state: Obj = next((s["state"] for s in states if s["name"] == container), {})
    reason = (state.get("waiting") or {}).get("reason", "ContainerCreating")
    why = "trying and failing to pull image" if "ImagePull" in reason else reason
    return ApiError(400, f'container "{container}" in pod "{name}" is waiting to start: {why}')


def _options(request: web.Request) -> Options:
    tail, limit, seconds = (_count(request, n) for n in ("tailLines", "limitBytes", "sinceSeconds"))
    since = now() - timedelta(seconds=seconds) if seconds is not None else None
    if text := request.query.get("sinceTime"):
        if seconds is not None:
            raise _invalid("at most one of `sinceTime` or `sinceSeconds` may be specified")
        try:
            since = parse_time(text)
        except ValueError as error:
            raise ApiError(400, str(error)) from error
    return Options(tail, since, flag(request, "timestamps"), limit)


def _count(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    least = 0 if name == "tailLines" else 1
    if not is_number(text.removeprefix("-")):
        raise ApiError(400, f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if int(text) < least:
        raise _invalid(f"{name}: Invalid value: {text}: must be greater than or equal to {least}")
    return int(text)


def _invalid(why: str) -> ApiError:
    return ApiError(422, f'PodLogOptions "" is invalid: {why}', "Invalid")


def flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() in ("true", "1")
