"""A job's events on moto."""

from tests.unit.store.events import *  # noqa: F403
