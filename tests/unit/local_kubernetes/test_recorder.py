"""Events live for a while after they were last written."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.local.kubernetes.admission import Admission
from infra.local.kubernetes.recorder import expire
from infra.local.kubernetes.registry import Registry
from infra.local.kubernetes.resources import EVENTS
from infra.local.kubernetes.store import Key, Store
from infra.local.kubernetes.values import now, stamp

HOUR = 3600
NOW, A_WHILE_AGO, LONG_AGO = stamp(now()), stamp(now() - timedelta(minutes=30)), "2020-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("times", "seconds", "is_kept"),
    [
        pytest.param({"created": LONG_AGO}, HOUR, False, id="old"),
        pytest.param({"created": LONG_AGO, "last": NOW}, HOUR, True, id="old, counted up since"),
        pytest.param({"created": NOW, "last": LONG_AGO}, HOUR, True, id="new, of something old"),
        pytest.param({"created": LONG_AGO, "last": LONG_AGO}, HOUR, False, id="old, of something old"),
        pytest.param({"created": A_WHILE_AGO}, HOUR, True, id="half an hour old, kept for an hour"),
        pytest.param({"created": A_WHILE_AGO}, 60, False, id="half an hour old, kept for a minute"),
    ],
)
def test_an_event_goes_when_its_time_since_the_last_write_is_over(
    tmp_path: Path, times: dict[str, str], seconds: float, is_kept: bool
) -> None:
    store = Store(tmp_path / "db")
    metadata = {"name": "e", "namespace": "n", "uid": "u", "creationTimestamp": times["created"]}
    event: dict[str, Any] = {"metadata": metadata, "lastTimestamp": times.get("last")}
    store.put(Key(EVENTS, "n", "e"), event)
    expire(Registry(store, Admission(store, tmp_path)), seconds)
    assert (store.get(Key(EVENTS, "n", "e")) is not None) is is_kept
