"""The store's totals on MiniStack."""

from tests.unit.store.totals import *  # noqa: F403
