"""The store's suite of totals on the table in memory."""

from tests.unit.store.totals import *  # noqa: F403
