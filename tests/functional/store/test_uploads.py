"""The store's receipts of uploads on MiniStack."""

from tests.unit.store.uploads import *  # noqa: F403
