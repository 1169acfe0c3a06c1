"""What changed of one kind of object since a version: a watch, and a list where a watch cannot help."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.cluster.api import Gone, KubernetesApi

log = logging.getLogger(__name__)

LIST_SIZE = 200  # objects a page: what its reader does about each may take a while


@dataclass(frozen=True, slots=True)
class Changes:
    """Objects as they are now, and the version that all news up to here belong to; None: the list goes on."""

    objects: Sequence[Mapping[str, Any]]
    version: str | None


def changes(api: KubernetesApi, path: str, version: str | None, seconds: float) -> Iterator[Changes]:
    """What was added or changed under `path` since `version`, and then what is, for about `seconds`.

    Without a version, or when the cluster has forgotten it, everything that there is comes first.
    """
    if version is None:
        version = yield from _listed(api, path)
    try:
        yield from _watched(api, path, version, seconds)
    except Gone as error:
        log.info("%s: listing, as %s", path, error)
        yield from _listed(api, path)


def is_ahead(api: KubernetesApi, path: str, version: str) -> bool:
    """Whether the version is none that this cluster has reached: it was another cluster's. To watch from
    there would be to wait in silence until it is."""
    newest = next(api.pages(path, {}, 1))["metadata"]["resourceVersion"]
    return not version.isdigit() or int(version) > int(newest)


def _listed(api: KubernetesApi, path: str) -> Generator[Changes, None, str]:
    """Returns the list's version."""
    version = ""
    for page in api.pages(path, {}, LIST_SIZE):
        version = page["metadata"]["resourceVersion"]
        is_last = not page["metadata"].get("continue")
        yield Changes(page.get("items") or (), version if is_last else None)
    return version


def _watched(api: KubernetesApi, path: str, version: str, seconds: float) -> Iterator[Changes]:
    for told in api.watch_many(path, {"resourceVersion": version}, seconds):
        objects = [change["object"] for change in told if change["type"] in ("ADDED", "MODIFIED")]
        yield Changes(objects, told[-1]["object"]["metadata"]["resourceVersion"])
