"""The store's lists on MiniStack."""

from tests.unit.store.lists import *  # noqa: F403
