"""Log reading as both dialects have it: what may be asked for, and a page as JSON or as Server-Sent Events.

Server-Sent Events: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any

from chalice.app import Response

from chalicelib.api import fields
from chalicelib.api.requests import Call
from chalicelib.bootstrap import container
from chalicelib.domain.log_cursor import BadCursor, Cursor, Read, decode, encode
from chalicelib.domain.logs import Stamped, advance, rfc3339
from chalicelib.domain.manifest import CONTAINER
from chalicelib.errors import FieldError, InvalidRequest
from chalicelib.services.job_log import ANSWER_BYTES, Page
from chalicelib.services.logs import Ask
from chalicelib.services.pod_log import Source

MAX_LINES = 10_000
WAIT_SECONDS = 20
MAX_WAIT_SECONDS = 25  # API Gateway gives up after 29
RETRY_MILLISECONDS = 250  # a client that follows asks again after that
END = ".end"  # behind the cursor in the id of the last event: its client was told

Lines = Annotated[int, fields.whole_text(1, MAX_LINES)]


class Following(fields.Fields):
    """The parameters that both dialects spell alike."""

    cursor: str | None = None
    follow: Annotated[bool, fields.one_of({"true": True, "false": False})] = False
    wait: Annotated[int | None, fields.whole_text(1, MAX_WAIT_SECONDS)] = None
    container: Annotated[str | None, fields.one_of({CONTAINER: CONTAINER})] = None


def read(call: Call, ask: Ask, wanted: Following, lines: int | None, tail: int) -> Page:
    """The page that is asked for: `lines` of it, or `tail` lines if there is no cursor either."""
    cursor = _cursor(call, ask, wanted)
    follow = wanted.follow or call.wants_events
    if wanted.wait is not None and not follow:
        raise InvalidRequest([FieldError("wait", "only_with", wanted.wait, {"other": "follow=true"})])
    lines = lines or (tail if cursor is None else MAX_LINES)
    if not follow:
        return container().logs.read(ask, cursor, lines)
    wait = timedelta(seconds=wanted.wait or WAIT_SECONDS)
    return container().logs.follow(ask, cursor, lines, wait)


def texts(page: Page) -> list[str]:
    """The lines; those of a log that pods share begin with their pod, as `kubectl logs --prefix` has it."""
    if page.is_shared:
        return [f"[{line.pod}] {line.text}" for line in page.lines]
    return [line.text for line in page.lines]


def about(page: Page) -> dict[str, Any]:
    """What stands beside the lines, in both dialects' words."""
    told: dict[str, Any] = {
        "cursor": encode(page.cursor),
        "finished": page.finished,
        "source": "+".join(source for source in Source if source in page.sources) or None,
    }
    if page.cut:
        told["truncated"] = True
    if page.waiting:
        told["reason"], told["message"] = page.waiting
    return told


def events(call: Call, page: Page) -> Response:
    """The page as a stream of events, which ends at once: the client asks again with the last event's id.

    204 tells a client that comes back although it was told the end to stop asking.
    """
    if page.finished and not page.lines and call.last_event_id.endswith(END):
        return Response("", {}, 204)
    headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
    return Response("".join(_events(page)), {**headers})


def _events(page: Page) -> Iterator[str]:
    yield f"retry: {RETRY_MILLISECONDS}\n\n"
    room = ANSWER_BYTES
    cursor = page.begin
    last = len(page.lines) - 1
    for index, line in enumerate(page.lines):
        stamped = Stamped(line.time, line.text)
        cursor = cursor.moved(line.pod, Read(advance(cursor.of(line.pod).mark, [stamped])))
        data = {"pod": line.pod, "time": rfc3339(line.time), "line": line.text}
        event = f"id: {encode(cursor if index < last else page.cursor)}\n{_data(data)}"
        room -= len(json.dumps(event))
        if room < 0 and index:
            return  # the rest comes when the client asks again
        yield event
    if page.finished:
        yield f"id: {encode(page.cursor)}{END}\nevent: end\n{_data({'finished': True})}"
    elif not page.lines:
        yield f"id: {encode(page.cursor)}\nevent: wait\n{_data(_waiting(page))}"


def _waiting(page: Page) -> dict[str, Any]:
    return {"reason": page.waiting[0], "message": page.waiting[1]} if page.waiting else {}


def _data(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"


def _cursor(call: Call, ask: Ask, wanted: Following) -> Cursor | None:
    """Where to read from: a client that comes back says it in its header, whatever its URL says."""
    named = {"Last-Event-ID": call.last_event_id.removesuffix(END), "cursor": wanted.cursor}
    field, text = next(((name, text) for name, text in named.items() if text), (None, None))
    if field is None or text is None:
        return None
    try:
        return decode(text, ask.job_id)
    except BadCursor as error:
        raise InvalidRequest([FieldError(field, "log_cursor", text)]) from error
