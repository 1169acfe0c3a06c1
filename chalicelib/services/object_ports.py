"""What the services need of buckets, as a protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from chalicelib.domain.uploads import Place, Upload


@dataclass(frozen=True, slots=True)
class Stored:
    """A version of an object in a bucket. `language` is its metadata's `accept-language`."""

    version_id: str | None
    size: int
    content: bytes = b""
    language: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """What stood at a key; `etag` tells it from what anybody writes after."""

    content: str
    etag: str


class Objects(Protocol):
    """Buckets. Raises ObjectsUnavailable."""

    def find(self, place: Place) -> Stored | None:
        """What stands there now, without its content; None: nothing."""
        ...

    def read(self, upload: Upload) -> Stored | None:
        """The upload's own version; None when it is gone, or, in a bucket without versions, when another
        has replaced it."""
        ...

    def read_text(self, bucket: str, key: str) -> Text | None: ...

    def write_text(self, bucket: str, key: str, text: str, over: Text | None) -> bool:
        """Write over what was read (None: nothing stood there). False when something else stands there now,
        be it a first try's own write whose answer was lost."""
        ...
