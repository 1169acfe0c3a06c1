"""Events live for an hour after they were last written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.local.kubernetes.admission import Admission
from infra.local.kubernetes.recorder import expire
from infra.local.kubernetes.registry import Registry
from infra.local.kubernetes.resources import EVENTS
from infra.local.kubernetes.store import Key, Store
from infra.local.kubernetes.values import now, stamp

LONG_AGO, NOW = "2020-01-01T00:00:00Z", stamp(now())


@pytest.mark.parametrize(
    ("times", "is_kept"),
    [
        pytest.param({"created": LONG_AGO}, False, id="old"),
        pytest.param({"created": LONG_AGO, "last": NOW}, True, id="old, counted up since"),
        pytest.param({"created": NOW, "last": LONG_AGO}, True, id="new, of something old"),
        pytest.param({"created": LONG_AGO, "last": LONG_AGO}, False, id="old, of something old"),
    ],
)
def test_an_event_goes_an_hour_after_its_last_write(
    tmp_path: Path, times: dict[str, str], is_kept: bool
) -> None:
    store = Store(tmp_path / "db")
    metadata = {"name": "e", "namespace": "n", "uid": "u", "creationTimestamp": times["created"]}
    event: dict[str, Any] = {"metadata": metadata, "lastTimestamp": times.get("last")}
    store.put(Key(EVENTS, "n", "e"), event)
    expire(Registry(store, Admission(store, tmp_path)))
    assert (store.get(Key(EVENTS, "n", "e")) is not None) is is_kept
