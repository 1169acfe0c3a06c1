"""A cluster's Events through our adapter: listed, watched, and found again after all that can go wrong."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest

from chalicelib.cluster.api import KubernetesApi
from chalicelib.cluster.kubernetes import KubernetesCluster
from chalicelib.errors import ClusterForbids, ClusterUnavailable
from chalicelib.services.cluster_ports import Happened
from tests.functional.kubernetes.clusters import EmbeddedCluster, Space
from tests.functional.kubernetes.test_faults import Faulty, faults  # noqa: F401 (a fixture)

_numbers = itertools.count()


def adapter(kubeconfig: str, seconds: float = 5.0) -> KubernetesCluster:
    return KubernetesCluster(KubernetesApi.from_kubeconfig(kubeconfig, None, seconds), "t")


@pytest.fixture
def seen(embedded: EmbeddedCluster) -> KubernetesCluster:
    return adapter(embedded.kubeconfig)


def tell(space: Space, reason: str, **changes: Any) -> None:
    """Write an Event of a pod into the test's namespace."""
    moment = "2026-01-26T10:00:00Z"
    event = {
        "metadata": {"name": f"p.{next(_numbers)}", "namespace": space.name},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": space.name},
        "reason": reason,
        "message": "m",
        "type": "Normal",
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        **changes,
    }
    code, body = space.cluster.request("POST", f"/api/v1/namespaces/{space.name}/events", event)
    assert code == 201, body


def reasons(space: Space, news: list[Happened]) -> list[str]:
    events = (told for one in news for told in one.events)
    return [event.reason for namespace, event in events if namespace == space.name]


def position(news: list[Happened]) -> str:
    last = news[-1].position
    assert last is not None
    return last


def test_a_first_reader_gets_what_there_is(seen: KubernetesCluster, space: Space) -> None:
    for number in range(3):
        tell(space, f"R{number}")
    assert sorted(reasons(space, list(seen.happened(None, None, 1)))) == ["R0", "R1", "R2"]
    assert sorted(reasons(space, list(seen.happened(space.name, None, 1)))) == ["R0", "R1", "R2"]


def test_a_long_list_has_no_position_before_its_end(seen: KubernetesCluster, space: Space) -> None:
    for number in range(201):
        tell(space, f"R{number}")
    news = list(seen.happened(space.name, None, 1))
    assert [len(one.events) for one in news[:2]] == [200, 1]
    assert news[0].position is None and news[1].position is not None


def test_what_happens_is_told_while_it_is_waited_for(seen: KubernetesCluster, space: Space) -> None:
    begin = position(list(seen.happened(space.name, None, 1)))
    news = seen.happened(space.name, begin, 20)
    threading.Timer(0.2, tell, (space, "Now")).start()
    assert reasons(space, [next(one for one in news if one.events)]) == ["Now"]


def test_what_happens_is_told_until_the_time_is_over(seen: KubernetesCluster, space: Space) -> None:
    begin = position(list(seen.happened(space.name, None, 1)))
    threading.Timer(1.5, tell, (space, "Late")).start()
    assert reasons(space, list(seen.happened(space.name, begin, 1.999))) == ["Late"]


def test_a_position_goes_on_where_it_was_taken(seen: KubernetesCluster, space: Space) -> None:
    tell(space, "Before")
    begin = position(list(seen.happened(space.name, None, 1)))
    tell(space, "After")
    assert reasons(space, list(seen.happened(space.name, begin, 1))) == ["After"]


def test_a_position_that_is_forgotten_brings_the_whole_list(
    seen: KubernetesCluster,
    space: Space,
    faults: Faulty,  # noqa: F811
) -> None:
    tell(space, "Before")
    begin = position(list(seen.happened(space.name, None, 1)))
    tell(space, "After")
    faults.add("expire")
    news = list(seen.happened(space.name, begin, 1))
    assert sorted(reasons(space, news)) == ["After", "Before"]
    tell(space, "Later")
    assert reasons(space, list(seen.happened(space.name, position(news), 1))) == ["Later"]


def test_another_clusters_position_brings_the_whole_list(embedded: EmbeddedCluster, space: Space) -> None:
    tell(space, "Here")
    assert reasons(space, list(adapter(embedded.kubeconfig).happened(space.name, "999999999", 1))) == ["Here"]


def test_a_watch_that_breaks_off_is_an_outage_and_what_it_told_counts(
    seen: KubernetesCluster,
    space: Space,
    faults: Faulty,  # noqa: F811
) -> None:
    begin = position(list(seen.happened(space.name, None, 1)))
    tell(space, "Before")
    news = seen.happened(space.name, begin, 20)
    told = next(one for one in news if one.events)
    faults.add("drop-watches")
    with pytest.raises(ClusterUnavailable):
        list(news)
    tell(space, "After")
    assert reasons(space, list(seen.happened(space.name, told.position, 1))) == ["After"]


def test_a_cluster_that_does_not_answer_in_time_is_an_outage(
    embedded: EmbeddedCluster,
    space: Space,
    faults: Faulty,  # noqa: F811
) -> None:
    faults.add("latency", seconds=3, path=f"*/{space.name}/events*", count=10)
    with pytest.raises(ClusterUnavailable):
        list(adapter(embedded.kubeconfig, seconds=0.2).happened(space.name, None, 1))


def test_a_role_without_the_verb_watch_is_told_so(
    seen: KubernetesCluster,
    space: Space,
    faults: Faulty,  # noqa: F811
) -> None:
    begin = position(list(seen.happened(space.name, None, 1)))
    faults.add("error", code=403, path="*watch=1*", count=1)
    with pytest.raises(ClusterForbids):
        list(seen.happened(space.name, begin, 1))


def test_an_event_that_cannot_be_read_is_left_out(seen: KubernetesCluster, space: Space) -> None:
    tell(space, "Fine")
    tell(space, "Odd", lastTimestamp=None, firstTimestamp=None, eventTime="9999-12-31T23:59:59.000000-12:00")
    tell(space, "Fine too")
    assert sorted(reasons(space, list(seen.happened(space.name, None, 1)))) == ["Fine", "Fine too"]
