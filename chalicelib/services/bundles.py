"""Archives of code beside job files: finds the version that stands there, which every pod of the job gets."""

from __future__ import annotations

from collections.abc import Callable

from chalicelib.domain.uploads import BUNDLE_ENDINGS, Place, bundle_uri
from chalicelib.errors import FieldError
from chalicelib.services.object_ports import Objects, Stored

MAX_BYTES = 1024**3  # packed
# One may come a little later than the file that names it: `aws s3 cp --recursive` uploads side by side.
WAIT_SECONDS = 10
PAUSE_SECONDS = 1


class Bundles:
    """The archives that one job file names."""

    def __init__(self, objects: Objects, sleep: Callable[[float], None]) -> None:
        self._objects = objects
        self._sleep = sleep

    def find(self, place: Place, names: set[str]) -> dict[str, str | FieldError]:
        """For each name the URI of its archive, or what is wrong with it. Waits a little for missing ones."""
        wrong = {
            name: FieldError("bundle", "bundle_name", name, {"endings": ", ".join(BUNDLE_ENDINGS)})
            for name in names
            if not is_name(name)
        }
        missing = names - wrong.keys()
        found: dict[str, Stored] = {}
        for tries in range(WAIT_SECONDS // PAUSE_SECONDS + 1):
            found |= {name: at for name in missing if (at := self._objects.find(place.beside(name)))}
            missing -= found.keys()
            if not missing or tries == WAIT_SECONDS // PAUSE_SECONDS:
                break
            self._sleep(PAUSE_SECONDS)
        absent = {
            name: FieldError("bundle", "bundle_missing", name, {"uri": place.beside(name).uri})
            for name in missing
        }
        return wrong | absent | {name: _uri(place.beside(name), at) for name, at in found.items()}


def is_name(name: str) -> bool:
    """Whether it can be that of an archive in the same folder."""
    return "/" not in name and name.endswith(BUNDLE_ENDINGS) and name not in BUNDLE_ENDINGS


def _uri(place: Place, stored: Stored) -> str | FieldError:
    if stored.size > MAX_BYTES:
        return FieldError("bundle", "bundle_too_large", stored.size, {"bytes": MAX_BYTES})
    return bundle_uri(place, stored.version_id)
