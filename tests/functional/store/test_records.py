"""The store's records on MiniStack."""

from tests.unit.store.records import *  # noqa: F403
