"""The cursor's text: what it keeps, and how long it gets."""

from __future__ import annotations

from random import Random

from chalicelib.domain.log_cursor import Cursor, Read, decode, encode
from chalicelib.domain.logs import Mark
from chalicelib.domain.pods import MOST_PODS
from tests.builders import JOB_ID

API_GATEWAY_BYTES = 10_240  # of a request's line and headers together
TOKEN_BYTES = 2_000


def test_a_cursor_reads_back_as_it_was_written() -> None:
    running = {f"{JOB_ID}-a": Read(Mark(1769421600123456789, 3)), f"{JOB_ID}-b": Read()}
    ended = {f"{JOB_ID}-c": Read(None, done=True)}
    cursor = Cursor(JOB_ID, running | ended)
    assert decode(encode(cursor), JOB_ID) == cursor


def test_a_cursor_over_all_the_pods_that_a_record_can_have_fits_into_a_url() -> None:
    noise = Random(1)
    read = {}
    for number in range(MOST_PODS):
        name = f"{JOB_ID}-{number % 64}-{''.join(noise.choices('bcdfghjklmnpqrstvwxz2456789', k=5))}"
        read[name] = Read(Mark(1769421600 * 10**9 + noise.getrandbits(50), 1), done=number < MOST_PODS - 64)
    assert len(encode(Cursor(JOB_ID, read))) + TOKEN_BYTES < API_GATEWAY_BYTES
