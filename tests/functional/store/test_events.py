"""A job's events on MiniStack."""

from tests.unit.store.events import *  # noqa: F403
