"""What is of use for moments only, and goes by TTL: pages that many want, used tickets of terminals."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import datetime

from chalicelib.services.ports import SharedPage
from chalicelib.services.ticket_ports import Ticket
from chalicelib.store import conditions
from chalicelib.store.items import Item, to_time
from chalicelib.store.keys import page_key, ticket_key
from chalicelib.store.table import ConditionFailed, Table

TICKET_KEPT_SECONDS = 3600  # beyond its expiry: TTL may not remove it while any clock still takes it


class Passing:
    """services.ports.SharedPages, and the JobStore's part of tickets."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def shared_page(self, name: str, now: datetime) -> SharedPage | None:
        item = self._table.get(page_key(name))
        if item is None or item["good_until"]["S"] <= to_time(now):
            return None
        return SharedPage(b64decode(item["content"]["B"]) if "content" in item else None)

    def claim_page(self, name: str, now: datetime, until: datetime) -> bool:
        try:
            self._table.put(_page(name, until), conditions.PAGE_OVER, {":now": {"S": to_time(now)}})
        except ConditionFailed:
            return False
        return True

    def share_page(self, name: str, content: bytes, until: datetime) -> None:
        self._table.put({**_page(name, until), "content": {"B": b64encode(content).decode()}})

    def use_ticket(self, ticket: Ticket) -> bool:
        expires_at = int(ticket.expires_at.timestamp()) + TICKET_KEPT_SECONDS
        item = {
            **ticket_key(ticket.id),
            "taker": {"S": f"{self._table.random.getrandbits(128):032x}"},
            "expires_at": {"N": str(expires_at)},
        }
        try:
            self._table.put(item, conditions.TICKET_UNUSED)
        except ConditionFailed as error:
            # It was us if the write that succeeded was our own, its answer lost.
            return error.in_doubt and self._table.get(ticket_key(ticket.id)) == item
        return True

    def ticket_is_used(self, ticket: Ticket) -> bool:
        return self._table.get(ticket_key(ticket.id)) is not None


def _page(name: str, until: datetime) -> Item:
    expires_at = {"N": str(int(until.timestamp()) + 60)}
    return {**page_key(name), "good_until": {"S": to_time(until)}, "expires_at": expires_at}
