"""The store's receipts of uploads on moto."""

from tests.unit.store.uploads import *  # noqa: F403
