"""The store's suite of records on the table in memory."""

from tests.unit.store.records import *  # noqa: F403
