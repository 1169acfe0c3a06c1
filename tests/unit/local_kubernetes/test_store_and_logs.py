"""The store's promises (versions, history, transactions) and the log reader's."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from infra.local.kubernetes.logs import LogReader, Options
from infra.local.kubernetes.resources import CONFIGMAPS
from infra.local.kubernetes.store import Expired, Key, Store, renewed
from infra.local.kubernetes.values import parse_time

Obj = dict[str, Any]


def key(name: str, namespace: str = "n") -> Key:
    return Key(CONFIGMAPS, namespace, name)


def thing(name: str, owner: str = "", **more: Any) -> Obj:
    owners = {"ownerReferences": [{"uid": owner}]} if owner else {}
    return {"metadata": {"name": name, **owners}, **more}


def on_disk(folder: Path) -> list[str]:
    return [name for (name,) in sqlite3.connect(folder / "db").execute("SELECT name FROM objects")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "db", history=3)


def test_versions_grow_over_restarts_also_past_deleted_objects(store: Store, tmp_path: Path) -> None:
    store.put(key("a"), thing("a"))
    gone = int(store.remove(key("a"))["metadata"]["resourceVersion"])
    again = Store(tmp_path / "db")
    assert int(again.put(key("b"), thing("b"))["metadata"]["resourceVersion"]) > gone
    assert [o["metadata"]["name"] for o in Store(tmp_path / "db").each(CONFIGMAPS)] == ["b"]


def test_history_is_bounded_and_says_when_it_is_not_enough(store: Store) -> None:
    start = store.version
    for name in "abcd":
        store.put(key(name), thing(name))
    assert [c.key.name for c in store.changes_since(store.version - 2)] == ["c", "d"]
    with pytest.raises(Expired):
        store.changes_since(start)


def test_a_transaction_that_fails_leaves_nothing_behind(store: Store) -> None:
    store.put(key("a"), thing("a", owner="o1", value=1))
    heard: list[Any] = []
    store.subscribe(heard.append)
    before = store.version
    with pytest.raises(RuntimeError), store.transaction():
        store.put(key("a"), thing("a", owner="o2", value=2))
        store.put(key("b"), thing("b"))
        store.remove(key("a"))
        raise RuntimeError
    found = store.get(key("a"))
    assert found is not None and found["value"] == 1
    assert (store.get(key("b")), store.version, heard) == (None, before, [])
    assert [k.name for k, _ in store.owned("o1")] == ["a"] and not store.owned("o2")


def test_what_is_written_together_is_on_the_disk_once_it_is_settled(tmp_path: Path) -> None:
    asked: list[Any] = []
    store = Store(tmp_path / "db", later=asked.append)
    store.put(key("a"), thing("a"))
    store.put(key("b"), thing("b"))
    assert on_disk(tmp_path) == []
    (settle,) = asked
    settle()
    assert on_disk(tmp_path) == ["a", "b"]
    last = store.remove(key("a"))
    store.close()
    assert on_disk(tmp_path) == ["b"]
    assert str(Store(tmp_path / "db").version) == last["metadata"]["resourceVersion"]


def test_a_transaction_that_fails_takes_back_nothing_that_was_written_before_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "db", later=lambda _: None)
    store.put(key("a"), thing("a"))
    with pytest.raises(RuntimeError), store.transaction():
        store.put(key("b"), thing("b"))
        store.settle()  # in the middle of it: not yet
        raise RuntimeError
    store.settle()
    assert on_disk(tmp_path) == ["a"]


def test_a_database_that_cannot_be_written_ends_the_cluster(tmp_path: Path) -> None:
    store = Store(tmp_path / "db", later=lambda _: None)
    sqlite3.connect(tmp_path / "db").execute("DROP TABLE version")
    store.put(key("a"), thing("a"))
    with pytest.raises(SystemExit, match="cannot be written"):
        store.settle()


def test_the_text_of_an_object_is_that_of_its_latest_version(store: Store) -> None:
    one = store.put(key("a"), thing("a"))
    before = store.text(one)
    store.put(key("a"), renewed(one, value=1))
    found = store.get(key("a"))
    assert found is not None and json.loads(store.text(found)) == found
    assert json.loads(before) == one and "value" not in one


def test_an_object_written_unchanged_keeps_its_version(store: Store) -> None:
    first = store.put(key("a"), thing("a"))
    assert store.put(key("a"), thing("a")) is first


def test_lists_are_in_order_and_go_on_after_a_key(store: Store) -> None:
    for namespace, name in (("b", "x"), ("a", "y"), ("a", "x")):
        store.put(key(name, namespace), thing(name, where=namespace))
    assert [(o["where"], o["metadata"]["name"]) for o in store.each(CONFIGMAPS)] == [
        ("a", "x"),
        ("a", "y"),
        ("b", "x"),
    ]
    assert [o["metadata"]["name"] for o in store.each(CONFIGMAPS, "a", key("x", "a"))] == ["y"]


def write(path: Path, *lines: str) -> Path:
    path.write_text(
        "".join(f"2026-01-01T00:00:{n:02d}.000000001Z stdout {line}\n" for n, line in enumerate(lines))
    )
    return path


def read(path: Path, **options: Any) -> str:
    return b"".join(LogReader(path, Options(**options)).read()).decode()


@pytest.mark.parametrize(
    ("tail", "expected"), [(0, ""), (1, "three\n"), (2, "long-line\nthree\n"), (9, None)]
)
def test_the_tail_counts_whole_lines(tmp_path: Path, tail: int, expected: str | None) -> None:
    log = write(tmp_path / "log", "F one", "P long-", "F line", "F three")
    assert read(log, tail=tail) == ("one\nlong-line\nthree\n" if expected is None else expected)


def test_a_reader_goes_on_where_it_was_and_waits_for_whole_lines(tmp_path: Path) -> None:
    log = write(tmp_path / "log", "F one")
    reader = LogReader(log, Options())
    assert b"".join(reader.read()) == b"one\n"
    with log.open("a") as file:
        file.write("2026-01-01T00:00:09.0Z stdout F tw")
    assert b"".join(reader.read()) == b""
    with log.open("a") as file:
        file.write("o\n")
    assert b"".join(reader.read()) == b"two\n"


def test_since_timestamps_and_a_limit_of_bytes(tmp_path: Path) -> None:
    log = write(tmp_path / "log", "F one", "F two", "F three")
    assert read(log, since=parse_time("2026-01-01T00:00:01Z")) == "two\nthree\n"
    assert read(log, tail=1, timestamps=True) == "2026-01-01T00:00:02.000000001Z three\n"
    assert read(log, limit=5) == "one\nt"
    assert read(tmp_path / "none") == ""
