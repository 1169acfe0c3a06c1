"""The store's totals on moto."""

from tests.unit.store.totals import *  # noqa: F403
