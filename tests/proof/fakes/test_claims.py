"""The store's suite of claims on the table in memory."""

from tests.unit.store.claims import *  # noqa: F403
