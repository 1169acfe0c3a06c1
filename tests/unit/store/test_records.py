"""The store's records on moto."""

from tests.unit.store.records import *  # noqa: F403
