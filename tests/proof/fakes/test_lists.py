"""The store's suite of lists on the table in memory."""

from tests.unit.store.lists import *  # noqa: F403
