"""The store's lists on moto."""

from tests.unit.store.lists import *  # noqa: F403
