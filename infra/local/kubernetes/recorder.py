"""Events tell people what the cluster did; the same one again only counts up; none stays for good."""

from __future__ import annotations

import time
from collections import OrderedDict
from datetime import timedelta
from typing import Any

from infra.local.kubernetes.errors import ApiError
from infra.local.kubernetes.registry import Registry
from infra.local.kubernetes.resources import EVENTS
from infra.local.kubernetes.store import Key, renewed
from infra.local.kubernetes.values import now, stamp

Obj = dict[str, Any]
REMEMBERED = 4096


class Recorder:
    def __init__(self, registry: Registry, component: str) -> None:
        self._registry = registry
        self._component = component
        self._recent: OrderedDict[tuple[str, ...], Key] = OrderedDict()

    def record(
        self,
        obj: Obj,
        reason: str,
        message: str,
        *,
        warning: bool = False,
        host: str = "",
        field: str = "",
    ) -> None:
        same = (obj["metadata"]["uid"], reason, message, field)
        key = self._recent.get(same)
        event = self._registry.store.get(key) if key else None
        if key and event:
            again = renewed(event, count=event["count"] + 1, lastTimestamp=stamp(now()))
            self._registry.store.put(key, again)
            return
        namespace = obj["metadata"].get("namespace", "default")
        source = {"component": self._component, **({"host": host} if host else {})}
        reporter = {"source": source, "reportingComponent": self._component, "reportingInstance": host}
        kind = "Warning" if warning else "Normal"
        made = {**_about(obj, field), "type": kind, "reason": reason, "message": message, **reporter}
        try:
            name = self._registry.create(EVENTS, namespace, made, ours=True)["metadata"]["name"]
        except ApiError as error:
            if error.code != 404:  # the namespace may be gone already, and its events with it
                raise
            return
        self._recent[same] = Key(EVENTS, namespace, name)
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)


def expire(registry: Registry, seconds: float) -> None:
    """So long after it was last written, whatever times it tells."""
    oldest = stamp(now() - timedelta(seconds=seconds))
    for event in list(registry.store.each(EVENTS)):
        metadata = event["metadata"]
        if max(metadata["creationTimestamp"], event.get("lastTimestamp") or "") < oldest:
            registry.delete(EVENTS, metadata["namespace"], metadata["name"])


def _about(obj: Obj, field: str) -> Obj:
    metadata, moment = obj["metadata"], stamp(now())
    subject = {k: metadata[k] for k in ("name", "namespace", "uid", "resourceVersion") if k in metadata}
    subject |= {k: obj[k] for k in ("kind", "apiVersion")} | ({"fieldPath": field} if field else {})
    times = {"firstTimestamp": moment, "lastTimestamp": moment, "eventTime": None}
    named = {"name": f"{metadata['name']}.{time.time_ns():x}"}  # as client-go's recorder has it
    return {"metadata": named, "involvedObject": subject, "count": 1, **times}
