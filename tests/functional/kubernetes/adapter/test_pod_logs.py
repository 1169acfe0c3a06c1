"""The reader of pods' logs, on a cluster's real answers.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#get-read-log-of-the-specified-pod
"""

from __future__ import annotations

import threading

import pytest

from chalicelib.cluster.api import KubernetesApi
from chalicelib.cluster.podlogs import PodLogs
from chalicelib.domain.logs import Stamped, advance
from chalicelib.domain.manifest import CONTAINER
from chalicelib.errors import PodNotFound
from tests.functional.kubernetes.clusters import Cluster, Space, wait_for

MANY = 10**9


@pytest.fixture
def logs(cluster: Cluster) -> PodLogs:
    return PodLogs(KubernetesApi.from_kubeconfig(cluster.kubeconfig, None, 5))


def printed(space: Space, script: str) -> str:
    """The name of a pod that has run `script` to its end."""
    space.run("j", "sh", "-c", script, container={"name": CONTAINER})
    space.ended("j")
    return str(space.pod("j").metadata.name)


def every(logs: PodLogs, space: Space, pod: str, lines: int, limit_bytes: int = MANY) -> list[Stamped]:
    told: list[Stamped] = []
    mark = None
    while True:
        chunk = logs.after(space.name, pod, mark, lines, limit_bytes, ended=True)
        assert chunk.joined or mark is None
        told += chunk.lines
        mark = advance(mark, chunk.lines)
        if chunk.whole:
            return told


@pytest.mark.parametrize(("lines", "limit_bytes"), [(777, MANY), (MANY, 5000), (MANY, MANY)])
def test_a_log_read_in_pages_is_the_log(space: Space, logs: PodLogs, lines: int, limit_bytes: int) -> None:
    pod = printed(space, "seq 1 5000; seq 5001 5050 >&2")
    told = every(logs, space, pod, lines, limit_bytes)
    assert sorted(int(line.text) for line in told) == list(range(1, 5051))
    assert [int(line.text) for line in told if int(line.text) <= 5000] == list(range(1, 5001))


def test_a_tail_is_the_logs_end_and_says_whether_there_may_be_more(space: Space, logs: PodLogs) -> None:
    pod = printed(space, "seq 1 1000")
    chunk = logs.tail(space.name, pod, 3, MANY, ended=True)
    assert [line.text for line in chunk.lines] == ["998", "999", "1000"] and chunk.joined
    assert not logs.tail(space.name, pod, 2000, MANY, ended=True).joined
    cut = logs.tail(space.name, pod, 1000, 2000, ended=True)
    assert cut.cut and [line.text for line in cut.lines][-1] == "1000" and len(cut.lines) < 1000


def test_a_tails_end_is_where_reading_goes_on(space: Space, logs: PodLogs) -> None:
    space.run("j", "sh", "-c", "seq 1 100; sleep 1; seq 101 110", container={"name": CONTAINER})
    pod = str(space.pod("j").metadata.name)
    tail = wait_for(lambda: logs.tail(space.name, pod, 5, MANY, ended=False).lines, what="lines")
    mark = advance(None, tail)
    space.ended("j")
    rest = logs.after(space.name, pod, mark, MANY, MANY, ended=True)
    first = int(tail[-1].text) + 1
    assert rest.joined and [line.text for line in rest.lines] == [str(n) for n in range(first, 111)]


def test_a_tail_that_begins_within_a_long_line_ends_where_reading_goes_on(
    space: Space, logs: PodLogs
) -> None:
    space.cluster.needs(26, "one timestamp a line, however long it is,")  # kubernetes/kubernetes#113481
    pod = printed(space, "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo next")
    tail = logs.tail(space.name, pod, 3, MANY, ended=True).lines
    assert tail[-1].text == "next"
    rest = logs.after(space.name, pod, advance(None, tail[:-1]), MANY, MANY, ended=True)
    assert [line.text for line in rest.lines] == ["next"]


def test_a_line_of_a_megabyte_is_one_line(space: Space, logs: PodLogs) -> None:
    space.cluster.needs(26, "one timestamp a line, however long it is,")  # kubernetes/kubernetes#113481
    pod = printed(space, "echo a; head -c 1048576 /dev/zero | tr '\\0' x; echo; echo b")
    a, long, b = every(logs, space, pod, 10)
    assert (a.text, b.text, long.text) == ("a", "b", "x" * 2**20)


def test_what_is_no_text_is_told_all_the_same(space: Space, logs: PodLogs) -> None:
    pod = printed(space, r"printf 'nul \000 here\n\377 no utf-8\ncarriage\rreturn\n\n\342\202\254\n'")
    assert [line.text for line in every(logs, space, pod, 10)] == [
        "nul \0 here",
        "\ufffd no utf-8",
        "carriage\rreturn",
        "",
        "€",
    ]


def test_a_last_line_without_a_break_is_told_when_the_container_has_ended(
    space: Space, logs: PodLogs
) -> None:
    pod = printed(space, "printf 'one\\ntwo'")
    assert [line.text for line in every(logs, space, pod, 10)] == ["one", "two"]


def test_a_pod_that_has_not_started_has_no_lines(space: Space, logs: PodLogs) -> None:
    space.run("j", "true", pod={"nodeSelector": {"moon": "yes"}}, container={"name": CONTAINER})
    pod = str(space.pod("j").metadata.name)
    assert not logs.tail(space.name, pod, 10, MANY, ended=False).lines
    assert not logs.after(space.name, pod, None, 10, MANY, ended=False).lines
    assert not logs.watch(space.name, pod, None).wait()


def test_an_ended_pod_whose_node_does_not_know_its_container_is_not_taken_for_a_silent_one(
    space: Space, logs: PodLogs
) -> None:
    """After a node's reboot such a pod has an exit code, and its log is refused as that of one to come is."""
    space.run("j", "true", container={"name": CONTAINER, "image": "missing.invalid/none"})
    pod = str(space.pod("j").metadata.name)
    wait_for(lambda: space.pod("j").status.container_statuses, what="its node to look at it")
    with pytest.raises(PodNotFound):
        logs.tail(space.name, pod, 10, MANY, ended=True)
    with pytest.raises(PodNotFound):
        logs.after(space.name, pod, None, 10, MANY, ended=True)


def test_a_pod_that_is_not_there_is_not_found(space: Space, logs: PodLogs) -> None:
    with pytest.raises(PodNotFound):
        logs.tail(space.name, "none", 10, MANY, ended=False)
    with pytest.raises(PodNotFound):
        logs.after(space.name, "none", None, 10, MANY, ended=False)
    assert not logs.watch(space.name, "none", None).wait()


def test_a_watch_wakes_for_a_line_behind_its_mark_and_not_for_those_before(
    space: Space, logs: PodLogs
) -> None:
    script = "echo one; until [ -e /s/go ]; do sleep 0.1; done; echo two; sleep 60"
    container = {"name": CONTAINER, "volumeMounts": [{"name": "s", "mountPath": "/s"}]}
    pod_spec = {"volumes": [{"name": "s", "emptyDir": {}}]}
    space.run("j", "sh", "-c", script, pod=pod_spec, container=container)
    pod = str(space.pod("j").metadata.name)
    one = wait_for(lambda: logs.after(space.name, pod, None, 10, MANY, ended=False).lines, what="a line")
    assert logs.watch(space.name, pod, None).wait()
    watch = logs.watch(space.name, pod, advance(None, one))
    said: list[bool] = []
    waiting = threading.Thread(target=lambda: said.append(watch.wait()))
    waiting.start()
    space.cluster.kubectl("-n", space.name, "exec", pod, "--", "touch", "/s/go")
    waiting.join(20)
    assert said == [True]


def test_a_watch_ends_when_it_is_closed(space: Space, logs: PodLogs) -> None:
    space.run("j", "sh", "-c", "echo one; sleep 60", container={"name": CONTAINER})
    pod = str(space.pod("j").metadata.name)
    one = wait_for(lambda: logs.after(space.name, pod, None, 10, MANY, ended=False).lines, what="a line")
    for closes_first in (True, False):
        watch = logs.watch(space.name, pod, advance(None, one))
        waiting = threading.Thread(target=watch.wait)
        if closes_first:
            watch.close()
        waiting.start()
        watch.close()
        waiting.join(20)
        assert not waiting.is_alive()
