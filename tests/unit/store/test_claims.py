"""The store's idempotency keys and leases on moto."""

from tests.unit.store.claims import *  # noqa: F403
