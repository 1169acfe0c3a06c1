"""The program that unpacks bundles: real archives, a real process, and a bucket on a port of this machine."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from chalicelib import unpack
from chalicelib.domain.uploads import Place, bundle_uri
from chalicelib.unpack import Refused

PROGRAM = Path(unpack.__file__)
SMALL = {"max_bytes": 10_000, "max_entries": 50}


@dataclass
class Desk:
    """A folder to unpack into, with something beside it that must stay as it is."""

    root: Path

    def __post_init__(self) -> None:
        self.target, self.beside = self.root / "workspace", self.root / "beside"
        for folder in (self.target, self.beside):
            folder.mkdir()
        (self.beside / "secret").write_text("ours")
        self.archive = self.root / "archive"

    def unpack(self, content: bytes) -> None:
        self.archive.write_bytes(content)
        unpack.unpack(self.archive, self.target, **SMALL)

    def files(self) -> dict[str, str]:
        """What was unpacked: links as `-> where`."""
        return {
            str(path.relative_to(self.target)): f"-> {path.readlink()}"
            if path.is_symlink()
            else path.read_text()
            for path in self.target.rglob("*")
            if path.is_symlink() or path.is_file()
        }

    def nothing_happened_outside(self) -> bool:
        found = {str(path.relative_to(self.root)) for path in self.root.rglob("*")}
        outside = {name for name in found if not name.startswith("workspace")}
        secret = self.beside / "secret"
        return (
            outside <= {"archive", "beside", "beside/secret"}
            and secret.read_text() == "ours"
            and secret.stat().st_nlink == 1
        )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    assert desk.nothing_happened_outside()


Member = tuple[str, Any]


def link(kind: bytes, where: str) -> dict[str, Any]:
    return {"type": kind, "linkname": where}


def symlink(where: str) -> dict[str, Any]:
    return link(tarfile.SYMTYPE, where)


def hardlink(where: str) -> dict[str, Any]:
    return link(tarfile.LNKTYPE, where)


FOLDER = {"type": tarfile.DIRTYPE, "mode": 0o755}


def tar(*members: Member, mode: str = "w:gz") -> bytes:
    """Each is a name with its text, or with the attributes of what is no file."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            attributes = content if isinstance(content, dict) else {"text": content}
            text = attributes.get("text", "").encode()
            info.size = len(text)
            for key, value in attributes.items():
                if key != "text":
                    setattr(info, key, value)
            archive.addfile(info, io.BytesIO(text))
    return written.getvalue()


def zipped(*members: Member) -> bytes:
    """Each is a name with its text, and maybe a mode."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            text, mode = content if isinstance(content, tuple) else (content, 0o100644)
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, text)
    return written.getvalue()


GOOD = [("train.py", "print(1)"), ("deep/er/模型.txt", "é"), ("empty", "")]
RUNS = {"text": "#!/bin/sh", "mode": 0o755}


@pytest.mark.parametrize("make", [tar, zipped], ids=[".tar.gz", ".zip"])
def test_files_and_folders_are_unpacked(desk: Desk, make: Callable[..., bytes]) -> None:
    desk.unpack(make(*GOOD))
    assert desk.files() == dict(GOOD)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(tar(("run.sh", RUNS), ("train.py", "")), id=".tar.gz"),
        pytest.param(zipped(("run.sh", ("#!/bin/sh", 0o100755)), ("train.py", "")), id=".zip"),
    ],
)
def test_what_can_be_run_stays_so(desk: Desk, content: bytes) -> None:
    desk.unpack(content)
    assert os.access(desk.target / "run.sh", os.X_OK)
    assert (desk.target / "train.py").stat().st_mode & 0o111 == 0


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(tar(("run.sh", {"mode": 0o6777, "uid": 4711})), id=".tar.gz"),
        pytest.param(zipped(("run.sh", ("", 0o106777))), id=".zip"),
    ],
)
def test_nothing_is_anybody_elses_or_runs_as_anybody_else(desk: Desk, content: bytes) -> None:
    desk.unpack(content)
    found = (desk.target / "run.sh").stat()
    assert (found.st_mode & 0o7022, found.st_uid) == (0, os.getuid())


def test_links_that_stay_inside_are_kept(desk: Desk) -> None:
    desk.unpack(
        tar(("data/a", "1"), ("data/b", symlink("a")), ("c", hardlink("data/a")), ("d", symlink("data")))
    )
    assert desk.files() == {"data/a": "1", "data/b": "-> a", "c": "1", "d": "-> data"}


def test_what_unpacks_to_just_the_limits_is_unpacked(desk: Desk) -> None:
    for make in (tar, zipped):
        desk.unpack(make(*((f"f{n}", "x" * 200) for n in range(50))))
        assert len(desk.files()) == 50


def chain(levels: int) -> list[Member]:
    """Links to each other's parents, each of which looks as if it stayed inside."""
    climbs: list[Member] = [
        ("a", FOLDER),
        ("a/b", FOLDER),
        ("up", symlink("a/b")),
        ("up/../out", symlink("..")),
    ]
    return [*climbs, *((f"up{n}", symlink("../" * n + "beside")) for n in range(1, levels))]


def long_chain() -> list[Member]:
    """CVE-2025-4517: a path longer than the system takes is no more resolved, and so not seen to leave."""
    folder, steps = "d" * 247, "abcdefghijklmnop"
    members: list[Member] = []
    path = ""
    for step in steps:
        members += [(path + folder, FOLDER), (path + step, symlink(folder))]
        path += f"{folder}/"
    through = "/".join(steps)
    members.append((f"{through}/{'l' * 254}", symlink("../" * len(steps))))
    members.append(("escape", symlink(f"{through}/{'l' * 254}/../../beside")))
    members += [("escape/new", "theirs"), ("flag", hardlink("escape/secret")), ("flag", "theirs")]
    return members


def lying(content: bytes, size: int) -> bytes:
    """The .zip of one entry with that size in both of its headers."""
    changed = bytearray(content)
    central = changed.index(b"PK\x01\x02")
    struct.pack_into("<I", changed, 22, size)
    struct.pack_into("<I", changed, central + 24, size)
    return bytes(changed)


def encrypted() -> bytes:
    changed = bytearray(zipped(("a", "x")))
    for at in (6, changed.index(b"PK\x01\x02") + 8):
        changed[at] |= 1
    return bytes(changed)


def corrupted() -> bytes:
    """The text is another than its checksum says."""
    changed = bytearray(tar(("a", "x")))
    changed[-8] ^= 1
    return bytes(changed)


BOMB = "0" * 10_001
BAD: list[Any] = [
    pytest.param(tar(("../beside/new", "x")), "outside", id="a tar climbs out"),
    pytest.param(tar(("a/../../beside/secret", "x")), "outside", id="a tar climbs out from below"),
    pytest.param(zipped(("../beside/new", "x")), "outside", id="a zip climbs out"),
    pytest.param(zipped(("a/../../beside/secret", "x")), "outside", id="a zip climbs out from below"),
    pytest.param(zipped(("/etc/trainyard-test", "x")), "outside", id="a zip with an absolute name"),
    pytest.param(tar(("a", symlink("../beside"))), "outside", id="a link outside"),
    pytest.param(tar(("a", symlink("/etc"))), "absolute", id="an absolute link"),
    pytest.param(tar(("a", hardlink("../beside/secret"))), "outside", id="a hard link outside"),
    pytest.param(tar(("a", hardlink("nothing"))), "read", id="a hard link to nothing"),
    pytest.param(
        tar(("a", symlink("b")), ("b", symlink("../beside")), ("a/x", "")), "outside", id="links to links"
    ),
    pytest.param(tar(("a", FOLDER), ("b", symlink("a")), ("b/x", "1")), "link", id="a file through a link"),
    pytest.param(tar(("a", "1"), ("b", symlink("a")), ("b", "2")), "link", id="a file over a link"),
    pytest.param(
        tar(("a", FOLDER), ("b", symlink("a")), ("c", hardlink("b/x"))), "link", id="a hard link through one"
    ),
    pytest.param(tar(*chain(3)), "link", id="a chain of links"),
    pytest.param(tar(*long_chain()), "link", id="a chain too long to be followed"),
    pytest.param(zipped(("a", ("../beside", 0o120777))), "link", id="a link in a zip"),
    pytest.param(tar(("a", {"type": tarfile.FIFOTYPE})), "special", id="a pipe"),
    pytest.param(
        tar(("a", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})), "special", id="a device"
    ),
    pytest.param(zipped(("a", ("", 0o020666))), "device", id="a device in a zip"),
    pytest.param(tar(("a", BOMB)), "10000 bytes", id="a large file in a tar"),
    pytest.param(zipped(("a", BOMB)), "10000 bytes", id="a large file in a zip"),
    pytest.param(tar(*((f"{n}", "0" * 600) for n in range(17))), "10000 bytes", id="files large together"),
    pytest.param(zipped(*((f"{n}", "0" * 600) for n in range(17))), "10000 bytes", id="and in a zip"),
    pytest.param(tar(*((f"{n}", "") for n in range(51))), "50 entries", id="many entries in a tar"),
    pytest.param(zipped(*((f"{n}", "") for n in range(51))), "50 entries", id="many entries in a zip"),
    pytest.param(
        gzip.compress(gzip.decompress(tar(("a", "1"))) + bytes(20_000)),
        "10000 bytes",
        id="much behind the end",
    ),
    pytest.param(lying(zipped(("a", BOMB)), 5), "read", id="a zip that says it is small"),
    pytest.param(tar(*GOOD)[:-20], "read", id="a tar that is cut off"),
    pytest.param(
        gzip.compress(gzip.decompress(tar(*GOOD))[:1024])[:-9], "read", id="cut off where a member begins"
    ),
    pytest.param(
        gzip.compress(gzip.decompress(tar(*GOOD))[:515]), "read", id="a tar that was cut off, then packed"
    ),
    pytest.param(corrupted(), "read", id="a tar whose checksum is wrong"),
    pytest.param(zipped(*GOOD)[:-10], "read", id="a zip that is cut off"),
    pytest.param(encrypted(), "password", id="an encrypted zip"),
    pytest.param(b"", "read", id="nothing"),
    pytest.param(b"<html>not found</html>", "read", id="something else"),
    pytest.param(gzip.compress(b"x" * 2000), "read", id="something else, packed"),
    pytest.param(tar(("a", "1"), mode="w:xz"), "read", id="a .tar.xz"),
    pytest.param(tar(("a", "1"), ("a/b", "2")), "one place", id="a file where a folder must be"),
    pytest.param(zipped(("a", "1"), ("a/b", "2")), "one place", id="and in a zip"),
    pytest.param(tar(("a/b", "1"), ("a", "2")), "one place", id="a folder where a file must be"),
    pytest.param(zipped(("a/b", "1"), ("a", "2")), "one place", id="that in a zip"),
]


@pytest.mark.parametrize(("content", "says"), BAD)
def test_a_bad_archive_is_refused_and_nothing_is_written_outside(
    desk: Desk, content: bytes, says: str
) -> None:
    with pytest.raises(Refused, match=says):
        desk.unpack(content)
    assert desk.nothing_happened_outside()


def test_a_bomb_ends_where_it_begins(desk: Desk) -> None:
    with pytest.raises(Refused):
        desk.unpack(tar(("first", "1"), ("bomb", BOMB), ("last", "2")))
    assert desk.files() == {"first": "1"}


def test_an_absolute_name_in_a_tar_lands_inside(desk: Desk) -> None:
    desk.unpack(tar(("/etc/trainyard-test", "x")))
    assert desk.files() == {"etc/trainyard-test": "x"}


def test_a_later_entry_takes_the_place_of_an_earlier_one(desk: Desk) -> None:
    desk.unpack(tar(("a", "1"), ("a", "2")))
    assert desk.files() == {"a": "2"}
    desk.unpack(zipped(("a", "3")))
    assert desk.files() == {"a": "3"}


@dataclass
class Bucket:
    """As much of S3 as the program needs."""

    objects: dict[tuple[str, str | None], bytes] = field(default_factory=dict)
    cut: bool = False  # whether connections break off
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, call: BaseHTTPRequestHandler) -> None:
        path, _, query = call.path.partition("?")
        self.asked.append(call.path)
        fields = dict(part.partition("=")[::2] for part in query.split("&"))
        version = unquote(fields["versionId"]) if "versionId" in fields else None
        found = self.objects.get((unquote(path), version))
        body = b"<Error><Code>NoSuchKey</Code></Error>" if found is None else found
        call.send_response(404 if found is None else 200)
        call.send_header("Content-Length", str(len(body)))
        call.end_headers()
        call.wfile.write(body[: len(body) // 2] if self.cut else body)
        call.close_connection = True


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    bucket = Bucket()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            bucket.answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    bucket.url = f"http://127.0.0.1:{server.server_port}"
    yield bucket
    server.shutdown()
    thread.join()
    server.server_close()


def run(desk: Desk, bucket: Bucket, uri: str) -> tuple[int, str, str]:
    """The program as a pod runs it: its text alone, in a folder without our code. Its exit code, what it
    printed, and its termination message."""
    said = desk.root / "archive"  # the one file that may appear beside the target
    said.unlink(missing_ok=True)
    text = PROGRAM.read_text().replace("/dev/termination-log", str(said))
    environment = {
        "TRAINYARD_BUNDLE": uri,
        "TRAINYARD_BUNDLE_TARGET": str(desk.target),
        "AWS_ENDPOINT_URL": bucket.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/nonexistent",
    }
    found = subprocess.run(
        [sys.executable, "-I", "-c", text],
        cwd=desk.target,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return found.returncode, found.stdout + found.stderr, said.read_text() if said.exists() else ""


def test_the_program_imports_nothing_of_ours() -> None:
    assert "chalicelib" not in PROGRAM.read_text()


@pytest.mark.parametrize(
    "key", ["submissions/acme/code.zip", "submissions/acme/a b%20+?#é&=;模.zip", "//x.zip"]
)
@pytest.mark.parametrize("version", [None, "v1", "a/b+c=&%?"])
def test_the_very_version_is_fetched_and_unpacked_and_nothing_else_is_left(
    desk: Desk, bucket: Bucket, key: str, version: str | None
) -> None:
    bucket.objects[(f"/bucket/{key}", version)] = zipped(*GOOD)
    code, printed, said = run(desk, bucket, bundle_uri(Place("bucket", key), version))
    assert (code, said) == (0, ""), (printed, bucket.asked)
    assert desk.files() == dict(GOOD)
    assert not list(desk.target.glob(".bundle*"))


def test_a_bad_archive_ends_with_its_name_and_the_reason(desk: Desk, bucket: Bucket) -> None:
    bucket.objects[("/bucket/a/my code.tar.gz", None)] = tar(("../beside/new", "x"))
    code, printed, said = run(desk, bucket, "s3://bucket/a/my%20code.tar.gz")
    assert code == unpack.REFUSED
    assert said.startswith("my code.tar.gz is refused: ")
    assert "outside" in said
    assert said in printed
    assert not list(desk.target.iterdir())


def test_an_archive_that_is_gone_is_said_so(desk: Desk, bucket: Bucket) -> None:
    code, _, said = run(desk, bucket, "s3://bucket/a/code.zip?versionId=v1")
    assert code == 1
    assert said.startswith("code.zip could not be unpacked: ")
    assert "NoSuchKey" in said
    assert not list(desk.target.iterdir())


def test_a_connection_that_breaks_off_leaves_nothing(desk: Desk, bucket: Bucket) -> None:
    bucket.objects[("/bucket/code.tar.gz", None)], bucket.cut = tar(*GOOD), True
    code, _, said = run(desk, bucket, "s3://bucket/code.tar.gz")
    assert code == 1
    assert "could not be unpacked" in said
    assert not list(desk.target.iterdir())
