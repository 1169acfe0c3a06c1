"""Objects live in SQLite so that they survive a kill -9, and resourceVersions only ever grow."""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right, insort
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from infra.local.kubernetes.resources import BY_NAME, Resource

Obj = dict[str, Any]
Later = Callable[[Callable[[], None]], object]  # calls it soon
TEXTS = 1024  # of the latest versions: who is told of them is told soon
SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (resource TEXT, namespace TEXT, name TEXT, body TEXT,
    PRIMARY KEY (resource, namespace, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS version (id INTEGER PRIMARY KEY CHECK (id = 1), value INTEGER);
INSERT OR IGNORE INTO version VALUES (1, 1);
"""


class Key(NamedTuple):
    resource: Resource
    namespace: str
    name: str


@dataclass(frozen=True)
class Change:
    version: int
    type: str  # ADDED, MODIFIED, DELETED
    key: Key
    obj: Obj
    old: Obj | None


class Expired(Exception):
    """The asked-for version is older than the history that is kept."""


class Store:
    """All objects in memory, and on the disk at once; with `later`, once that calls back or somebody settles.
    What it hands out, and what it was given, is shared and never changed in place: `renewed` has other parts,
    `clone` is wholly one's own."""

    def __init__(self, path: Path, history: int = 10_000, later: Later | None = None) -> None:
        self._later = later
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(SCHEMA)
        self.version: int = self._db.execute("SELECT value FROM version").fetchone()[0]
        self._floor = self.version
        self._history: deque[Change] = deque(maxlen=history)
        self._objects: dict[Key, Obj] = {}
        self._keys: dict[Resource, list[Key]] = defaultdict(list)
        self._owned: dict[str, set[Key]] = defaultdict(set)
        self._listeners: list[Callable[[Change], None]] = []
        self._open: list[Change] | None = None
        self._begun = self._marked = False
        self._texts: OrderedDict[int, tuple[Obj, str]] = OrderedDict()
        for resource, namespace, name, body in self._db.execute("SELECT * FROM objects"):
            self._place(Key(BY_NAME[resource], namespace, name), json.loads(body))

    def close(self) -> None:
        self.settle()
        self._db.close()

    def settle(self) -> None:
        """Before anybody outside learns of what was written, and before a process or a file does."""
        if self._open is None and self._begun:
            self._begun = False
            self._must(f"UPDATE version SET value={self.version}", "COMMIT")

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def get(self, key: Key) -> Obj | None:
        return self._objects.get(key)

    def each(self, resource: Resource, namespace: str = "", after: Key | None = None) -> Iterator[Obj]:
        """In the order of the real one: by namespace, then name."""
        keys = self._keys[resource]
        start = bisect_right(keys, after or Key(resource, namespace, ""))
        for key in keys[start:]:
            if namespace and key.namespace != namespace:
                break
            yield self._objects[key]

    def text(self, obj: Obj) -> str:
        """As JSON. What was written of late is not put together anew for each who watches."""
        known = self._texts.get(id(obj))
        return known[1] if known else json.dumps(obj)

    def owned(self, uid: str) -> list[tuple[Key, Obj]]:
        return [(key, self._objects[key]) for key in sorted(self._owned.get(uid, ()), key=_row)]

    def put(self, key: Key, obj: Obj) -> Obj:
        """Write one object under a new version; an unchanged object keeps the version it has."""
        old = self._objects.get(key)
        if old is not None:
            obj["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            if obj == old:
                return old
        with self.transaction() as changes:
            self._stamp(obj)
            text = json.dumps(obj)
            self._write("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", (*_row(key), text))
            self._texts[id(obj)] = (obj, text)  # keeps the object, and so its id
            if len(self._texts) > TEXTS:
                self._texts.popitem(last=False)
            self._place(key, obj)
            changes.append(Change(self.version, "MODIFIED" if old else "ADDED", key, obj, old))
        return obj

    def remove(self, key: Key, last: Obj | None = None) -> Obj:
        """As it was stored, or as it was `last`."""
        with self.transaction() as changes:
            old = self._objects[key]
            gone = renewed(last or old)
            self._stamp(gone)
            self._write("DELETE FROM objects WHERE resource=? AND namespace=? AND name=?", _row(key))
            self._take(key)
            changes.append(Change(self.version, "DELETED", key, gone, old))
        return gone

    @contextmanager
    def transaction(self) -> Iterator[list[Change]]:
        """All writes inside happen together or not at all; watchers hear of them afterwards."""
        if self._open is not None:
            yield self._open
            return
        self._open, before = [], self.version
        try:
            yield self._open
        except BaseException:
            self._unmark("ROLLBACK TO mark")
            self.version = before
            for change in reversed(self._open):
                self._take(change.key)
                if change.old is not None:
                    self._place(change.key, change.old)
            self._open = None
            raise
        changes, self._open = self._open, None
        self._unmark()
        if self._later is None:
            self.settle()
        for change in changes:
            if len(self._history) == self._history.maxlen:
                self._floor = self._history[0].version
            self._history.append(change)
        for change in changes:
            for listener in list(self._listeners):
                listener(change)

    def forget(self) -> None:
        """Whoever watches from before now is told to list again."""
        self._floor = self.version
        self._history.clear()

    def changes_since(self, version: int) -> list[Change]:
        if version < self._floor:
            raise Expired(f"too old resource version: {version} ({self._floor})")
        found: list[Change] = []
        for change in reversed(self._history):
            if change.version <= version:
                break
            found.append(change)
        return found[::-1]

    def _write(self, statement: str, row: tuple[str, ...]) -> None:
        """The first write begins the transaction: most that controllers look at needs none."""
        if not self._begun:
            self._db.execute("BEGIN IMMEDIATE")
            self._begun = True
            if self._later:
                self._later(self.settle)
        if not self._marked:
            self._db.execute("SAVEPOINT mark")
            self._marked = True
        self._db.execute(statement, row)

    def _unmark(self, *before: str) -> None:
        if self._marked:
            self._marked = False
            self._must(*before, "RELEASE mark")

    def _must(self, *statements: str) -> None:
        """If they fail, others may be lost too: the cluster ends, and comes back with what it has told."""
        try:
            for statement in statements:
                self._db.execute(statement)
        except sqlite3.Error as error:
            raise SystemExit(f"error: the database cannot be written: {error}") from error

    def _stamp(self, obj: Obj) -> None:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)

    def _place(self, key: Key, obj: Obj) -> None:
        old = self._objects.get(key)
        if old is None:
            insort(self._keys[key.resource], key)
        else:
            self._index(key, old, add=False)
        self._objects[key] = obj
        self._index(key, obj, add=True)

    def _take(self, key: Key) -> None:
        obj = self._objects.pop(key, None)
        if obj is not None:
            keys = self._keys[key.resource]
            del keys[bisect_right(keys, key) - 1]
            self._index(key, obj, add=False)

    def _index(self, key: Key, obj: Obj, *, add: bool) -> None:
        for owner in obj["metadata"].get("ownerReferences") or ():
            keys = self._owned[owner["uid"]]
            if add:
                keys.add(key)
            else:
                keys.discard(key)
                if not keys:
                    del self._owned[owner["uid"]]


def _row(key: Key) -> tuple[str, str, str]:
    return key.resource.qualified, key.namespace, key.name


def renewed(obj: Obj, metadata: Obj | None = None, **parts: Any) -> Obj:
    """With other parts; all else is shared. Its metadata is its own, since `put` writes the version there."""
    return {**obj, **parts, "metadata": {**obj["metadata"], **(metadata or {})}}


def clone(obj: Obj) -> Obj:
    copied: Obj = json.loads(json.dumps(obj))
    return copied
