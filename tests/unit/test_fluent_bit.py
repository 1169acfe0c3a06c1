"""infra/kubernetes/fluent-bit.yaml, as far as it can be held without a Fluent Bit.

Its expression and its Lua filter write what the embedded stack's shipper writes; it may do what it needs
and no more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml
from lupa import LuaRuntime

from infra.local.config import REPO
from infra.local.log_records import event_of
from tests.log_lines import CRI_LINES

MANIFEST = REPO / "infra" / "kubernetes" / "fluent-bit.yaml"
JOB = "job-01k0000000000000000000000a"
LABELS = {"trainyard.dev/job-id": JOB, "trainyard.dev/instance": "trainyard"}
POD = {"pod_name": f"{JOB}-0-x7k2p", "container_name": "training", "labels": LABELS}
RECORD = {"time": "2026-01-01T00:00:00.1Z", "stream": "stdout", "logtag": "F", "log": "x", "offset": 0}
KNOWN = {name: (line, fields) for name, (line, fields) in CRI_LINES.items() if fields is not None}

Filter = Callable[[Mapping[str, Any]], dict[str, bytes] | None]


@pytest.fixture(scope="module")
def objects() -> Mapping[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all(MANIFEST.read_text())}


@pytest.fixture(scope="module")
def config(objects: Mapping[str, Any]) -> Mapping[str, Any]:
    read: Mapping[str, Any] = yaml.safe_load(objects["ConfigMap"]["data"]["fluent-bit.yaml"])
    return read


@pytest.fixture(scope="module")
def lua_filter(objects: Mapping[str, Any]) -> Filter:
    """The filter's function as Fluent Bit calls it: strings are bytes; None for a record that it drops."""
    lua = LuaRuntime(encoding=None)
    lua.execute(b'os.getenv = function(name) return name == "TRAINYARD_INSTANCE" and "trainyard" or nil end')
    lua.execute(objects["ConfigMap"]["data"]["trainyard.lua"].encode())

    def call(record: Mapping[str, Any]) -> dict[str, bytes] | None:
        code, _, made = lua.globals()[b"event"](b"kube.x", 1.5, _table(lua, record))
        assert code in (-1, 2)
        return None if code == -1 else {key.decode(): value for key, value in made.items()}

    return call


def _table(lua: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return lua.table_from({key.encode(): _table(lua, each) for key, each in value.items()})
    return value.encode() if isinstance(value, str) else value


def test_the_parser_takes_what_runtimes_write(config: Mapping[str, Any]) -> None:
    (parser,) = config["parsers"]
    expression = re.compile(parser["regex"].replace("(?<", "(?P<").encode())
    for record, fields in KNOWN.values():
        found = expression.match(record)
        assert found is not None
        assert {key: text.decode(errors="replace") for key, text in found.groupdict().items()} == fields
    assert not any(expression.match(CRI_LINES[name][0]) for name in ("no tag", "another stream", "nothing"))


@pytest.mark.parametrize(("line", "fields"), KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("parsed", [True, False], ids=["parsed", "left as it is"])
def test_the_message_is_the_shippers(
    lua_filter: Filter, line: bytes, fields: Mapping[str, str], parsed: bool
) -> None:
    log = line.split(b" ", 3)[3]
    record = {**fields, "log": log} if parsed else {"log": line}
    made = lua_filter({**record, "offset": 5_000_000_000, "kubernetes": POD})
    assert made is not None
    assert made["log_stream"].decode() == f"{JOB}.{JOB}-0-x7k2p.training"
    event = event_of(line, 5_000_000_000)
    assert event is not None
    message = made["message"].decode(errors="replace")
    assert json.loads(message) == json.loads(event["message"])
    assert list(json.loads(message)) == list(json.loads(event["message"]))


def test_an_empty_line_without_its_text_is_an_empty_line(lua_filter: Filter) -> None:
    made = lua_filter({key: RECORD[key] for key in RECORD if key != "log"} | {"kubernetes": POD})
    assert made is not None
    assert json.loads(made["message"])["log"] == ""


@pytest.mark.parametrize(
    ("pod", "stream"),
    [
        (POD, f"{JOB}.{JOB}-0-x7k2p.training"),
        (POD | {"pod_name": "any-name"}, f"{JOB}.any-name.training"),
        (POD | {"labels": {}}, None),
        (POD | {"labels": {"trainyard.dev/job-id": JOB}}, None),
        (POD | {"labels": LABELS | {"trainyard.dev/instance": "another"}}, None),
        (POD | {"labels": {"trainyard.dev/instance": "trainyard"}}, None),
        ({"pod_name": f"{JOB}-x7k2p", "container_name": "training"}, f"{JOB}.{JOB}-x7k2p.training"),
        ({"pod_name": "job-runner-x7k2p", "container_name": "main"}, None),
        ({}, None),
    ],
    ids=[
        "ours",
        "ours by its label",
        "no labels",
        "no instance",
        "another instance",
        "no job",
        "gone before it was looked up",
        "gone, and somebody else's",
        "unknown",
    ],
)
def test_the_pods_of_jobs_of_this_instance_are_kept(
    lua_filter: Filter, pod: Mapping[str, Any], stream: str | None
) -> None:
    made = lua_filter(RECORD | {"kubernetes": pod})
    assert (made and made["log_stream"].decode()) == stream


def test_what_is_no_record_is_dropped(lua_filter: Filter) -> None:
    assert lua_filter({"log": "half a record", "offset": 0, "kubernetes": POD}) is None


def test_an_outage_loses_nothing(config: Mapping[str, Any]) -> None:
    (tail,), (cloudwatch,) = config["pipeline"]["inputs"], config["pipeline"]["outputs"]
    assert (tail["storage.type"], cloudwatch["retry_limit"]) == ("filesystem", "no_limits")
    state = "/var/lib/fluent-bit/"
    assert tail["db"].startswith(state)
    assert config["service"]["storage.path"].startswith(state)
    assert tail["read_from_head"] is True


def test_it_may_read_pods_and_nothing_else(objects: Mapping[str, Any]) -> None:
    assert objects["ClusterRole"]["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    account = objects["ServiceAccount"]["metadata"]
    (subject,) = objects["ClusterRoleBinding"]["subjects"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])


def test_it_runs_on_every_node_with_the_hosts_logs_read_only_and_a_pinned_image(
    objects: Mapping[str, Any],
) -> None:
    pod = objects["DaemonSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert re.fullmatch(r"fluent/fluent-bit:\d+\.\d+\.\d+", container["image"])
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert "memory" in container["resources"]["limits"]
    paths = {volume["name"]: volume.get("hostPath", {}).get("path") for volume in pod["volumes"]}
    mounts = {paths[mount["name"]]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert mounts == {None: True, "/var/log": True, "/var/lib/trainyard-fluent-bit": False}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_defaults_are_the_stacks(objects: Mapping[str, Any]) -> None:
    (container,) = objects["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    set_to = {variable["name"]: variable["value"] for variable in container["env"]}
    assert set_to["TRAINYARD_LOG_GROUP"] == "/trainyard/jobs"
    assert set_to["TRAINYARD_INSTANCE"] == "trainyard"
