"""A kubelet's log files as they grow, are rotated and go: each byte is read once, in the order of writing."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from infra.local.log_files import Checkpoint, NodeLogs, Pod

FOLDER = "ns_job-a-x7k2p_11-22"


class NodeFolder:
    """A node's log folder, and a reader of it that can be started anew."""

    def __init__(self, folder: Path) -> None:
        self.root, self.state = folder / "pods", folder / "checkpoint.json"
        self.root.mkdir()
        self._moment = 0
        self.restart()

    def restart(self) -> None:
        """As when the reader's process ends and another one comes."""
        self.logs = NodeLogs(self.root, Checkpoint(self.state))

    def path(self, name: str = "0.log", container: str = "main", pod: str = FOLDER) -> Path:
        return self.root / pod / container / name

    def write(self, text: str, name: str = "0.log", container: str = "main", pod: str = FOLDER) -> None:
        """One record, without its line feed if `text` says so."""
        path = self.path(name, container, pod)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._moment += 1
        with path.open("a") as file:
            file.write(f"2026-01-01T00:00:00.{self._moment:09d}Z stdout F {text}\n")

    def read(self, *, save: bool = True) -> list[str]:
        """The texts of all there is to read."""
        texts = []
        self.logs.refresh()
        for each in self.logs:
            while found := each.read():
                file, data = found
                lines = data[: data.rfind(b"\n") + 1]
                texts += [text.split(" ", 3)[3] for text in lines.decode().splitlines()]
                each.advance(file, file.offset + len(lines))
        self.logs.refresh()
        if save:
            self.logs.checkpoint.save()
        return texts

    def rotate(self) -> None:
        """As a kubelet does; the runtime makes the new file when it is told to."""
        self.path().rename(self.path(f"0.log.20260101-{self._moment:06d}"))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def node(tmp_path: Path) -> NodeFolder:
    return NodeFolder(tmp_path)


def test_what_grows_is_read_on(node: NodeFolder) -> None:
    assert node.read() == []
    node.write("a")
    assert node.read() == ["a"]
    assert node.read() == []
    node.write("b")
    node.write("c")
    assert node.read() == ["b", "c"]


def test_a_line_is_read_when_it_is_whole(node: NodeFolder) -> None:
    node.write("a")
    with node.path().open("a") as file:
        file.write("2026-01-01T00:00:01Z stdout F ha")
        file.flush()
        assert node.read() == ["a"]
        file.write("lf\n")
    assert node.read() == ["half"]


def test_a_folder_tells_whose_log_it_is(node: NodeFolder) -> None:
    node.write("a", container="side-car")
    node.logs.refresh()
    (found,) = node.logs
    assert (found.pod, found.container) == (Pod("ns", "job-a-x7k2p", "11-22"), "side-car")


def test_what_is_no_log_of_a_pod_is_left_alone(node: NodeFolder) -> None:
    node.write("a", name="0.log.20260101-000000.gz")
    node.write("a", name="notes.txt")
    node.write("a", pod="no-pod")
    (node.root / "a_b_c").write_text("a file")
    (node.root / "d_e_f").mkdir()
    (node.root / "d_e_f" / "file").touch()
    assert node.read() == []


def test_a_rotated_file_is_read_to_its_end_before_the_next(node: NodeFolder) -> None:
    node.write("a")
    assert node.read() == ["a"]
    node.write("b")
    node.rotate()
    node.write("c")
    assert node.read() == ["b", "c"]


def test_two_rotations_between_two_looks_lose_nothing(node: NodeFolder) -> None:
    for text in "abc":
        node.write(text)
        node.rotate()
    node.write("d")
    assert node.read() == ["a", "b", "c", "d"]


def test_a_file_that_was_compressed_meanwhile_is_read_to_its_end(node: NodeFolder) -> None:
    node.write("a")
    assert node.read() == ["a"]
    node.write("b")
    node.rotate()
    (rotated,) = node.path().parent.glob("0.log.*")
    rotated.with_name(rotated.name + ".gz").write_bytes(gzip.compress(rotated.read_bytes()))
    rotated.unlink()
    node.write("c")
    assert node.read() == ["b", "c"]


def test_a_pod_that_is_deleted_is_read_to_its_end(node: NodeFolder) -> None:
    node.write("a")
    assert node.read() == ["a"]
    node.write("last words")
    node.path().unlink()
    node.path().parent.rmdir()
    (node.root / FOLDER).rmdir()
    assert node.read() == ["last words"]
    assert list(node.logs) == []


def test_what_is_gone_and_was_read_is_let_go(node: NodeFolder) -> None:
    before = open_files()
    for number in range(20):
        node.write("a", pod=f"ns_p{number}_u{number}")
    assert len(node.read()) == 20
    assert open_files() == before + 20
    for number in range(20):
        path = node.path(pod=f"ns_p{number}_u{number}")
        path.unlink()
        path.parent.rmdir()
        path.parent.parent.rmdir()
    node.write("still here")
    assert node.read() == ["still here"]
    assert open_files() == before + 1
    assert node.state.read_text().count(":00:00.") == 1


def test_attempts_are_one_log_in_their_order(node: NodeFolder) -> None:
    for attempt in (0, 1, 2, 10):
        node.write(f"attempt {attempt}", name=f"{attempt}.log")
    assert node.read() == ["attempt 0", "attempt 1", "attempt 2", "attempt 10"]
    node.write("more of 10", name="10.log")
    assert node.read() == ["more of 10"]


def test_containers_have_logs_of_their_own(node: NodeFolder) -> None:
    node.write("a", container="init")
    node.write("b")
    node.logs.refresh()
    assert sorted(each.container for each in node.logs) == ["init", "main"]


def test_a_restart_goes_on_from_the_checkpoint(node: NodeFolder) -> None:
    node.write("a")
    assert node.read() == ["a"]
    node.write("b")
    node.restart()
    assert node.read() == ["b"]


def test_a_restart_finds_files_that_were_rotated_meanwhile(node: NodeFolder) -> None:
    node.write("a")
    assert node.read() == ["a"]
    node.write("b")
    node.rotate()
    node.write("c")
    node.restart()
    assert node.read() == ["b", "c"]


def test_a_restart_does_not_take_a_new_file_for_the_one_that_was_there(node: NodeFolder) -> None:
    node.write("a")
    assert node.read() == ["a"]
    inode = node.path().stat().st_ino
    node.write("other")
    content = node.path().read_text().splitlines(keepends=True)[1]
    with node.path().open("r+") as file:  # a new file with the old one's inode, as file systems give them out
        file.truncate()
        file.write(content)
    assert node.path().stat().st_ino == inode
    node.restart()
    assert node.read() == ["other"]


def test_what_was_read_but_not_kept_is_read_again(node: NodeFolder) -> None:
    node.write("a")
    assert node.read(save=False) == ["a"]
    node.restart()
    assert node.read() == ["a"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": "b"}', "null"])
def test_a_checkpoint_that_cannot_be_read_means_repeats_and_no_end(node: NodeFolder, content: str) -> None:
    node.write("a")
    assert node.read() == ["a"]
    node.state.write_text(content)
    node.restart()
    assert node.read() == ["a"]


def test_a_folder_that_is_not_there_yet_costs_no_checkpoint(node: NodeFolder) -> None:
    node.write("a")
    assert node.read() == ["a"]
    node.root.rename(node.root.with_name("away"))
    node.restart()
    assert node.read() == []
    node.root.with_name("away").rename(node.root)
    assert node.read() == []
    node.write("b")
    assert node.read() == ["b"]


def test_a_pod_that_is_ignored_stays_so_and_keeps_no_file_open(node: NodeFolder) -> None:
    before = open_files()
    node.write("a")
    node.logs.refresh()
    (found,) = node.logs
    node.logs.ignore(found.pod)
    node.write("b", container="another")
    assert node.read() == []
    assert open_files() == before
