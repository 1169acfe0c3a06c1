"""Selectors, values and patches: the pure parts, without a server."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from infra.local.kubernetes.environment import expand, map_paths
from infra.local.kubernetes.errors import ApiError
from infra.local.kubernetes.patching import apply_patch
from infra.local.kubernetes.selection import label_test
from infra.local.kubernetes.values import age, parse_time, quantity, stamp

STRATEGIC = "application/strategic-merge-patch+json"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", Decimal(1)),
        ("500m", Decimal("0.5")),
        ("2Gi", Decimal(2 * 2**30)),
        ("1.5k", Decimal(1500)),
        ("1e3", Decimal(1000)),
        ("1E", Decimal(10) ** 18),
        (4, Decimal(4)),
        ("128974848", Decimal(128974848)),
    ],
)
def test_a_quantity_is_read_as_kubernetes_reads_it(text: object, value: Decimal) -> None:
    assert quantity(text) == value


@pytest.mark.parametrize("text", ["", "lots", "1 Gi", "1GiB", "0x10", "NaN", "1e", "--1"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        quantity(text)


@pytest.mark.parametrize("selector", ["a b", "=x", "a in b", "a=b=c,", "a in (x", "-a"])
def test_a_bad_selector_is_a_bad_request(selector: str) -> None:
    with pytest.raises(ApiError) as caught:
        label_test(selector)
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (5, "5s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (3600, "60m"),
        (3 * 3600 + 60, "3h1m"),
        (9 * 3600, "9h"),
        (50 * 3600, "2d2h"),
        (10 * 86400, "10d"),
    ],
)
def test_an_age_is_shown_as_kubectl_shows_it(seconds: int, shown: str) -> None:
    start = parse_time("2026-01-01T00:00:00Z")
    assert age(stamp(start), stamp(start.fromtimestamp(start.timestamp() + seconds, start.tzinfo))) == shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$(B)", "$(B)"),
        ("$$", "$"),
        ("a$(A)b$(A)", "a1b1"),
        ("$A $(A", "$A $(A"),
    ],
)
def test_variables_are_expanded_like_the_kubelet_does(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


def test_paths_are_mapped_only_where_they_are_paths() -> None:
    mounts: list[Any] = [{"path": "/data", "source": "/host/d", "readonly": False, "size": 0}]
    text = "python /data/x.py --in=/data /database /x/data"
    assert map_paths(text, mounts) == "python /host/d/x.py --in=/host/d /database /x/data"


def test_a_strategic_merge_knows_items_by_their_key() -> None:
    old = {
        "metadata": {"finalizers": ["a"]},
        "spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]},
    }
    patch = {
        "metadata": {"finalizers": ["b"], "$deleteFromPrimitiveList/finalizers": ["a"]},
        "spec": {
            "$setElementOrder/containers": [{"name": "a"}],
            "containers": [{"name": "a", "image": "2"}, {"name": "b", "$patch": "delete"}],
        },
    }
    new = apply_patch(old, STRATEGIC, patch)
    assert new["spec"] == {"containers": [{"name": "a", "image": "2"}]}
    assert "b" in new["metadata"]["finalizers"]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/none"},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "jump", "path": "/a"},
        {"op": "add", "path": "a"},
        {"path": "/a"},
        {"op": "replace", "path": "/l/9", "value": 1},
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused(operation: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        apply_patch({"a": 1, "l": [1]}, "application/json-patch+json", [operation])
    assert caught.value.code == 422


def test_json_patches_move_copy_and_append() -> None:
    operations = [
        {"op": "add", "path": "/l/-", "value": 2},
        {"op": "copy", "from": "/l", "path": "/m"},
        {"op": "move", "from": "/a~1b", "path": "/c"},
    ]
    assert apply_patch({"l": [1], "a/b": 3}, "application/json-patch+json", operations) == {
        "l": [1, 2],
        "m": [1, 2],
        "c": 3,
    }
