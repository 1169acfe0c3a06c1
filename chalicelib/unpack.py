"""Runs in a pod before its training does: fetches the job's bundle and unpacks it. Its text is the
container's command, so it imports nothing of ours; botocore is in the image (docs/uploads.md says which).

What is refused ends with exit code 3 and its reason as the termination message: an entry that would land
outside, a link that leads outside, a device, more or larger files than the limits say. `tarfile`'s filter
judges links, but older Pythons can be deceived by long chains of them (CVE-2025-4517 and its like);
so nothing is written through a link, wherever it leads.
"""

from __future__ import annotations

import gzip
import os
import stat
import sys
import tarfile
import tempfile
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

MAX_BYTES = 4 * 1024**3  # unpacked
MAX_ENTRIES = 100_000
REFUSED = 3
CHUNK = 1024**2
TERMINATION_LOG = Path("/dev/termination-log")
IMAGE_SDK = "/var/runtime"  # where AWS' own Python images keep botocore
UNREADABLE = (
    tarfile.TarError,
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    EOFError,
    RuntimeError,  # a password, a compression that is not known
    ValueError,  # names and numbers that make no sense
    KeyError,  # a hard link to what is not there
)


class Refused(Exception):
    """The archive is not one to unpack."""


def main() -> int:
    """Unpack TRAINYARD_BUNDLE into TRAINYARD_BUNDLE_TARGET; the exit code says how it went."""
    uri, target = os.environ["TRAINYARD_BUNDLE"], Path(os.environ["TRAINYARD_BUNDLE_TARGET"])
    name = unquote(urlsplit(uri).path).rpartition("/")[2]
    try:
        with tempfile.TemporaryDirectory(dir=target, prefix=".bundle-") as folder:
            archive = Path(folder, "archive")
            fetch(uri, archive)
            unpack(archive, target)
    except Refused as error:
        return _end(REFUSED, f"{name} is refused: {error}")
    except Exception as error:  # noqa: BLE001 (whatever it is, it is said and not raised)
        return _end(1, f"{name} could not be unpacked: {type(error).__name__}: {error}")
    print(f"unpacked {name} to {target}", flush=True)
    return 0


def fetch(uri: str, path: Path) -> None:
    """Write the object `s3://bucket/key?versionId=…` to a file, with the pod's own sign-in."""
    sys.path.append(IMAGE_SDK)
    import botocore.session  # noqa: PLC0415 (found only now)
    from botocore.config import Config  # noqa: PLC0415

    parts = urlsplit(uri)
    version = parse_qs(parts.query).get("versionId")
    which = {"VersionId": version[0]} if version else {}
    config = Config(retries={"mode": "standard", "total_max_attempts": 8})
    s3 = botocore.session.get_session().create_client("s3", config=config)
    body = s3.get_object(Bucket=parts.netloc, Key=unquote(parts.path[1:]), **which)["Body"]
    with path.open("wb") as file:
        for chunk in body.iter_chunks(CHUNK):
            file.write(chunk)


def unpack(archive: Path, target: Path, max_bytes: int = MAX_BYTES, max_entries: int = MAX_ENTRIES) -> None:
    """Unpack a .tar.gz or .zip into the folder `target`. Raises Refused."""
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, target, max_bytes, max_entries)
        else:
            _unpack_tar(archive, target, max_bytes, max_entries)
    except tarfile.FilterError as error:
        raise Refused(str(error)) from error
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise Refused(f"two entries want one place: {error}") from error
    except UNREADABLE as error:
        raise Refused(f"it is no .tar.gz or .zip that can be read: {error}") from error


def _unpack_tar(archive: Path, target: Path, max_bytes: int, max_entries: int) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise OSError("the tarfile of this Python has no data filter; it takes 3.11.4 or newer")
    size = entries = 0
    # As a stream: each member is judged before what is behind it is read, and a bomb ends where it begins.
    with gzip.open(archive) as packed:
        with tarfile.open(fileobj=packed, mode="r|") as tar:
            for member in tar:
                size, entries = size + max(member.size, 0), entries + 1
                _check(size, entries, max_bytes, max_entries)
                _check_way(target, member.name)
                if member.islnk():
                    _check_way(target, member.linkname)
                tar.extract(member, target, filter="data")
        while rest := packed.read(CHUNK):  # to its end, where the checksum is
            size += len(rest)
            _check(size, entries, max_bytes, max_entries)


def _check_way(target: Path, name: str) -> None:
    """Raises Refused where that name is, or leads through, a link that has been unpacked before."""
    path = target
    for part in Path(name.strip("/")).parts:
        path /= part
        if path.is_symlink():
            raise Refused(f"{name!r} lies behind a link")


def _unpack_zip(archive: Path, target: Path, max_bytes: int, max_entries: int) -> None:
    root = target.resolve()
    size = 0
    with zipfile.ZipFile(archive) as bundle:
        for entries, info in enumerate(bundle.infolist(), start=1):
            size += info.file_size
            _check(size, entries, max_bytes, max_entries)
            mode = info.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise Refused(f"{info.filename!r} is a link or a device, which a .zip may not hold here")
            path = (root / info.filename).resolve()
            if not path.is_relative_to(root):
                raise Refused(f"{info.filename!r} would land outside")
            bundle.extract(info, root)
            if mode & 0o111 and not info.is_dir():
                path.chmod(0o755)


def _check(size: int, entries: int, max_bytes: int, max_entries: int) -> None:
    if size > max_bytes:
        raise Refused(f"unpacked it has more than {max_bytes} bytes")
    if entries > max_entries:
        raise Refused(f"it has more than {max_entries} entries")


def _end(code: int, message: str) -> int:
    print(message, file=sys.stderr, flush=True)
    with suppress(OSError):
        TERMINATION_LOG.write_text(message[:1000], encoding="utf-8", errors="replace")
    return code


if __name__ == "__main__":
    sys.exit(main())
