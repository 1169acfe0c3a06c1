"""The store's suite of events on the table in memory."""

from tests.unit.store.events import *  # noqa: F403
