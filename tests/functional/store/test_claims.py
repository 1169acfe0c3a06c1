"""The store's idempotency keys and leases on MiniStack."""

from tests.unit.store.claims import *  # noqa: F403
