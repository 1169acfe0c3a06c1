"""`GET /api/jobs/{jobId}/pods/{podName}/webterminal`: the contract's shape, and every refusal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.domain.states import Status
from chalicelib.errors import ClusterUnavailable
from chalicelib.settings import InvalidSetting, load
from tests import builders
from tests.builders import JOB_ID
from tests.unit.api.conftest import World
from tests.unit.api.fakes import Reply

POD = f"{JOB_ID}-abcde"
PATH = f"/api/jobs/{JOB_ID}/pods/{POD}/webterminal"


@pytest.fixture(autouse=True)
def running_job(world: World) -> None:
    world.store.jobs[JOB_ID] = builders.job(Status.RUNNING)
    world.cluster.jobs[JOB_ID] = builders.workload(builders.running_pod())


def ask(world: World, path: str = PATH, token: str = "acme:member") -> Reply:
    return world.api.call("GET", path, token=token, accept_language="en")


def test_a_member_gets_the_relays_url_with_a_ticket(world: World) -> None:
    reply = ask(world)
    assert reply.status == 200 and reply.body.keys() == {"success", "data"}
    assert list(reply.body["data"]) == ["webTerminalUrl"]
    assert reply.body["data"]["webTerminalUrl"].startswith("ws://localhost:8080/webterminal/ey")


def test_every_url_has_a_ticket_of_its_own(world: World) -> None:
    assert ask(world).raw != ask(world).raw


@pytest.mark.parametrize(
    ("path", "token", "status", "code"),
    [
        pytest.param(PATH, "acme:viewer", 403, "Forbidden", id="a viewer"),
        pytest.param(PATH, "rival:member", 404, "JobNotFound", id="another tenant"),
        pytest.param(PATH.replace("abcde", "zzzzz"), "acme:member", 404, "PodNotFound", id="no such pod"),
        pytest.param(PATH.replace("abcde", "A_B"), "acme:member", 404, "PodNotFound", id="no pod's name"),
        pytest.param(PATH.replace(JOB_ID, "job-1"), "acme:member", 404, "JobNotFound", id="no job's id"),
        pytest.param(PATH + "?shell=sh", "acme:member", 400, "InvalidRequest", id="an unknown parameter"),
    ],
)
def test_others_are_refused_in_the_dialects_envelope(
    world: World, path: str, token: str, status: int, code: str
) -> None:
    reply = ask(world, path, token)
    assert (reply.status, reply.body["success"], reply.body["error"]["code"]) == (status, False, code)


def test_a_pod_that_does_not_run_is_a_409_that_says_why(world: World) -> None:
    waits = builders.pod(waiting_reason="ImagePullBackOff", waiting_message="no such image")
    world.cluster.jobs[JOB_ID] = builders.workload(waits)
    reply = ask(world)
    assert (reply.status, reply.body["error"]["code"]) == (409, "PodNotRunning")
    assert reply.message == f"The pod {POD} is not running: ImagePullBackOff: no such image"


def test_a_cluster_that_does_not_answer_is_a_503(world: World) -> None:
    world.cluster.broken = ClusterUnavailable("down")
    reply = ask(world)
    assert (reply.status, reply.body["error"]["code"]) == (503, "ClusterUnavailable")


def test_without_a_relay_the_endpoint_says_so(world: World) -> None:
    container = world.container
    container.settings = replace(container.settings, terminal_url="")
    reply = ask(world)
    assert (reply.status, reply.body["error"]["code"]) == (503, "TerminalsNotSetUp")
    assert ask(world, token="acme:viewer").status == 403
    assert ask(world, token="rival:member").status == 404


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRAINYARD_TERMINAL_URL", "http://localhost:8080"),
        ("TRAINYARD_TERMINAL_URL", "localhost:8080"),
        ("TRAINYARD_TERMINAL_URL", "ws://"),
        ("TRAINYARD_TERMINAL_URL", "ws://host/?a=b"),
        ("TRAINYARD_TERMINAL_SECRET", "short"),
    ],
)
def test_a_setting_that_cannot_be_is_named_but_no_secret_shown(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=name) as caught:
        load({name: value})
    assert "short" not in str(caught.value)


def test_the_secret_is_in_no_printed_settings() -> None:
    secret = "x" * 40
    assert secret not in repr(load({"TRAINYARD_TERMINAL_SECRET": secret}))
