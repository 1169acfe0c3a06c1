"""What neither dialect's create takes: each mistake is an error in its envelope that names the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.api.requests import MAX_BODY_BYTES
from tests.unit.api.conftest import World
from tests.unit.api.fakes import Api, Reply

TRAINING_V1 = "/api/v1/training/jobs"
JOBS = "/api/jobs/create"
MIB = 1024**2

# In training-v1's names; JOBS_NAMES says how the jobs dialect calls them.
GOOD: dict[str, Any] = {
    "name": "ResNet Training",
    "framework": "pytorch",
    "script_path": "/workspace/train.py",
    "cpu": 8,
    "memory": 34359738368,
    "gpu": 2,
}
GOOD_JOBS: dict[str, Any] = {
    "jobName": "ResNet Training",
    "image": "registry/image:tag",
    "command": ["python", "train.py"],
}
JOBS_NAMES = {
    "name": "jobName",
    "script_path": "scriptPath",
    "workspace_id": "workspaceId",
    "dataset_id": "datasetId",
    "resource_pool_id": "resourcePoolId",
    "max_retries": "maxRetries",
    "max_runtime_seconds": "maxRuntimeSeconds",
    "client_token": "clientToken",
    "dry_run": "dryRun",
    "cpu": "resources.cpu",
    "memory": "resources.memory",
    "gpu": "resources.gpu",
}

# (id, field, value, the field that the error names where it is not the whole field)
WRONG_VALUES: list[tuple[str, str, Any, str]] = [
    ("name empty", "name", "", ""),
    ("name of 129 characters", "name", "x" * 129, ""),
    ("name not a string", "name", 7, ""),
    ("name null", "name", None, ""),
    ("name with NUL", "name", "a\0b", ""),
    ("name with a line break", "name", "a\nb", ""),
    ("name with an escape", "name", "a\x1b[31m", ""),
    ("name with a C1 control", "name", "a\x85b", ""),
    ("name with a line separator", "name", "a\u2028b", ""),
    ("name turned around", "name", "a\u202eb", ""),
    ("name with a lone surrogate", "name", "a\ud800", ""),
    ("name of spaces", "name", "   ", ""),
    ("name with a space behind", "name", "a ", ""),
    ("description too long", "description", "x" * 2049, ""),
    ("description with NUL", "description", "a\0", ""),
    ("description a list", "description", ["a"], ""),
    ("framework a number", "framework", 1, ""),
    ("framework unknown", "framework", "caffe", ""),
    ("framework in capitals", "framework", "PyTorch", ""),
    ("script path relative", "script_path", "train.py", ""),
    ("script path climbs", "script_path", "/workspace/../etc/passwd", ""),
    ("script path ends climbing", "script_path", "/workspace/..", ""),
    ("script path with a dot", "script_path", "/workspace/./train.py", ""),
    ("script path with two slashes", "script_path", "/workspace//train.py", ""),
    ("script path begins with two slashes", "script_path", "//train.py", ""),
    ("script path a folder", "script_path", "/workspace/", ""),
    ("script path the root", "script_path", "/", ""),
    ("script path with NUL", "script_path", "/workspace/a\0.py", ""),
    ("script path too long", "script_path", "/" + "x" * 1024, ""),
    ("image empty", "image", "", ""),
    ("image with a space", "image", "registry/image tag", ""),
    ("image in capitals", "image", "Registry/Image", ""),
    ("image with an empty tag", "image", "registry/image:", ""),
    ("image with a short digest", "image", "registry/image@sha256:abc", ""),
    ("image an option", "image", "--privileged", ""),
    ("image a URL", "image", "https://registry/image", ""),
    ("command a string", "command", "python train.py", ""),
    ("command empty", "command", [], ""),
    ("command of 65", "command", ["x"] * 65, ""),
    ("command with a number", "command", ["python", 3], "command[1]"),
    ("command with null", "command", ["python", "a", None], "command[2]"),
    ("command with NUL", "command", ["python", "a\0"], "command[1]"),
    ("command with a list", "command", ["python", ["a"]], "command[1]"),
    ("command without a program", "command", ["", "a"], ""),
    ("command over 16 KiB", "command", ["python", "x" * 9000, "y" * 9000], ""),
    ("command of one word over 16 KiB", "command", ["x" * 16385], "command[0]"),
    ("cpu 0", "cpu", 0, ""),
    ("cpu 1025", "cpu", 1025, ""),
    ("cpu a string", "cpu", "8", ""),
    ("cpu a float", "cpu", 8.0, ""),
    ("cpu true", "cpu", True, ""),
    ("cpu a list", "cpu", [8], ""),
    ("cpu an object", "cpu", {"cores": 8}, ""),
    ("memory under 16 MiB", "memory", 16 * MIB - 1, ""),
    ("memory over 16 TiB", "memory", 16 * MIB * MIB + 1, ""),
    ("memory with a unit", "memory", "32Gi", ""),
    ("gpu below 0", "gpu", -1, ""),
    ("gpu 65", "gpu", 65, ""),
    ("gpu half", "gpu", 0.5, ""),
    ("priority 11", "priority", 11, ""),
    ("priority below 0", "priority", -1, ""),
    ("priority false", "priority", False, ""),
    ("workspace 0", "workspace_id", 0, ""),
    ("workspace over 2^53", "workspace_id", 2**53, ""),
    ("workspace a string", "workspace_id", "456", ""),
    ("dataset below 0", "dataset_id", -789, ""),
    ("pool unknown", "resource_pool_id", "mars", ""),
    ("pool empty", "resource_pool_id", "", ""),
    ("pool a number", "resource_pool_id", 1, ""),
    ("queue unknown", "queue", "express", ""),
    ("queue a list", "queue", ["normal"], ""),
    ("env a list", "env", ["A=1"], ""),
    ("env with a number", "env", {"A": 1}, "env.A"),
    ("env with null", "env", {"A": None}, "env.A"),
    ("env with NUL", "env", {"A": "\0"}, "env.A"),
    ("env name with a dash", "env", {"A-B": ""}, "env.A-B"),
    ("env name begins with a digit", "env", {"1A": ""}, "env.1A"),
    ("env name empty", "env", {"": "x"}, "env."),
    ("env name ours", "env", {"TRAINYARD_X": "x"}, "env.TRAINYARD_X"),
    ("env name of the rendezvous", "env", {"MASTER_ADDR": "x"}, "env.MASTER_ADDR"),
    ("env of 101", "env", {f"A{i}": "" for i in range(101)}, ""),
    ("env over 16 KiB", "env", {"A": "x" * 9000, "B": "x" * 9000}, ""),
    ("nodes 0", "nodes", 0, ""),
    ("nodes 65", "nodes", 65, ""),
    ("max_retries 11", "max_retries", 11, ""),
    ("max_runtime_seconds 0", "max_runtime_seconds", 0, ""),
    ("max_runtime_seconds over 30 days", "max_runtime_seconds", 30 * 86400 + 1, ""),
    ("labels a string", "labels", "a=b", ""),
    ("label value a number", "labels", {"a": 1}, "labels.a"),
    ("label value with a space", "labels", {"a": "b c"}, "labels.a"),
    ("label value of 64", "labels", {"a": "x" * 64}, "labels.a"),
    ("label key with a space", "labels", {"a b": "c"}, "labels.a b"),
    ("label key without a name", "labels", {"team/": "c"}, "labels.team/"),
    ("label key with two slashes", "labels", {"a/b/c": "c"}, "labels.a/b/c"),
    ("label key ours", "labels", {"trainyard.dev/tenant": "b"}, "labels.trainyard.dev/tenant"),
    ("label key of kubernetes", "labels", {"app.kubernetes.io/name": "b"}, "labels.app.kubernetes.io/name"),
    (
        "label key of the queue",
        "labels",
        {"kueue.x-k8s.io/queue-name": "b"},
        "labels.kueue.x-k8s.io/queue-name",
    ),
    ("label key of the job controller", "labels", {"job-name": "b"}, "labels.job-name"),
    ("labels of 33", "labels", {f"a{i}": "" for i in range(33)}, ""),
    ("client token empty", "client_token", "", ""),
    ("client token with a space", "client_token", "a b", ""),
    ("client token of 129", "client_token", "x" * 129, ""),
    ("dry_run a string", "dry_run", "true", ""),
    ("dry_run 1", "dry_run", 1, ""),
    ("resources a list", "resources", [], ""),
]

# (id, the JSON text of cpu's value, a word of the message)
WRONG_JSON_VALUES = [
    ("NaN", "NaN", "NaN"),
    ("Infinity", "Infinity", "Infinity"),
    ("minus Infinity", "-Infinity", "-Infinity"),
    ("1e999", "1e999", "1e999"),
    ("2^63", "9223372036854775808", "9223372036854775808"),
    ("below -2^63", "-9223372036854775809", "-9223372036854775809"),
    ("5000 digits", "9" * 5000, "999"),
    ("lone surrogate", '"\\udc00"', "\\udc00"),
    ("nested 31 deep", "[" * 31 + "]" * 31, "cpu"),
]

# (id, body, headers, status, a word of the message)
WRONG_BODIES: list[tuple[str, bytes, dict[str, str], int, str]] = [
    ("not JSON", b"{name: 1}", {}, 400, "JSON"),
    ("cut off", b'{"name": "a', {}, 400, "JSON"),
    ("two objects", b"{}{}", {}, 400, "JSON"),
    ("a raw control character", b'{"name": "a\nb"}', {}, 400, "JSON"),
    ("a byte order mark", b"\xef\xbb\xbf{}", {}, 400, "JSON"),
    ("a list", b"[]", {}, 400, "body"),
    ("null", b"null", {}, 400, "body"),
    ("a string", b'"name"', {}, 400, "body"),
    ("a number", b"7", {}, 400, "body"),
    ("NaN alone", b"NaN", {}, 400, "body"),
    ("Latin-1", '{"name": "é"}'.encode("latin-1"), {}, 400, "UTF-8"),
    ("UTF-16", '{"name": "a"}'.encode("utf-16"), {}, 400, "UTF-8"),
    ("UTF-8 that the gateway mangled", '{"name": "\ufffd"}'.encode(), {}, 400, "UTF-8"),
    ("100,000 brackets", b"[" * 100_000, {}, 400, "32"),
    ("100,000 objects", b'{"a":' * 50_000, {}, 400, "32"),
    ("nested 33 deep", b'{"a":' * 33 + b"1" + b"}" * 33, {}, 400, "32"),
    ("a form", b"name=a", {"Content_Type": "application/x-www-form-urlencoded"}, 415, "form"),
    ("text", b"{}", {"Content_Type": "text/plain"}, 415, "text/plain"),
    ("JSON in GBK", b"{}", {"Content_Type": "application/json; charset=gbk"}, 415, "gbk"),
    ("octets", b"{}", {"Content_Type": "application/octet-stream"}, 415, "octet-stream"),
    ("over 256 KiB", b" " * MAX_BODY_BYTES + b"{}", {}, 413, "262144"),
]


def envelope_is_right(path: str, reply: Reply) -> bool:
    body = reply.body
    if path.startswith(TRAINING_V1):
        return set(body) == {"code", "message", "data"} and int(body["code"]) // 100 == reply.status
    return set(body) == {"success", "message", "error"} and set(body["error"]) == {"code", "details"}


def ids(cases: list[Any]) -> list[str]:
    return [case[0] for case in cases]


@pytest.mark.parametrize("case", WRONG_VALUES, ids=ids(WRONG_VALUES))
def test_training_v1_names_the_wrong_field(world: World, case: tuple[str, str, Any, str]) -> None:
    _, field, value, named = case
    reply = world.api.call("POST", TRAINING_V1, GOOD | {field: value})
    assert reply.status == 400 and envelope_is_right(TRAINING_V1, reply)
    assert reply.message.removeprefix("请求参数错误：").startswith(f"{named or field} ")
    assert "；" not in reply.message, "one mistake, one problem"
    assert not world.store.jobs


@pytest.mark.parametrize("case", WRONG_VALUES, ids=ids(WRONG_VALUES))
def test_jobs_names_the_wrong_field(world: World, case: tuple[str, str, Any, str]) -> None:
    _, field, value, named = case
    name = JOBS_NAMES.get(field, field)
    outer, _, inner = name.partition(".")
    reply = world.api.call("POST", JOBS, GOOD_JOBS | {outer: {inner: value} if inner else value})
    assert reply.status == 400 and envelope_is_right(JOBS, reply)
    assert reply.body["error"]["code"] == "InvalidRequest"
    assert [detail["field"] for detail in reply.body["error"]["details"]] == [named or name]
    assert not world.store.jobs


@pytest.mark.parametrize("path", [TRAINING_V1, JOBS])
@pytest.mark.parametrize("case", WRONG_JSON_VALUES, ids=ids(WRONG_JSON_VALUES))
def test_a_value_that_json_or_the_store_cannot_hold_is_named(
    api: Api, path: str, case: tuple[str, str, str]
) -> None:
    _, text, word = case
    reply = api.call("POST", path, raw=f'{{"name": "a", "cpu": {text}}}')
    assert reply.status == 400 and envelope_is_right(path, reply)
    assert "cpu " in reply.message and word in reply.message


@pytest.mark.parametrize("path", [TRAINING_V1, JOBS, "/api/jobs"])
@pytest.mark.parametrize("case", WRONG_BODIES, ids=ids(WRONG_BODIES))
def test_a_body_that_is_no_json_object_is_refused(
    api: Api, path: str, case: tuple[str, bytes, dict[str, str], int, str]
) -> None:
    _, body, headers, status, word = case
    reply = api.call("POST", path, raw=body, **headers)
    assert reply.status == status and envelope_is_right(path, reply)
    assert word in reply.message


def test_a_body_of_exactly_256_kib_is_read(api: Api) -> None:
    body = json.dumps(GOOD).encode()
    assert api.call("POST", TRAINING_V1, raw=body + b" " * (MAX_BODY_BYTES - len(body))).status == 201


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=UTF-8", 'Application/JSON;charset="utf-8"', ""]
)
def test_json_by_any_spelling_is_taken(api: Api, content_type: str) -> None:
    assert api.call("POST", TRAINING_V1, GOOD, Content_Type=content_type).status == 201


@pytest.mark.parametrize("path", [TRAINING_V1, JOBS])
def test_a_key_given_twice_is_named_wherever_it_is(api: Api, path: str) -> None:
    reply = api.call("POST", path, raw='{"gpu": 1, "gpu": 2, "env": {"A": "1", "A": "2"}}')
    assert reply.status == 400
    assert "gpu 重复出现" in reply.message and "env.A 重复出现" in reply.message


def test_training_v1_reports_everything_at_once(api: Api) -> None:
    wrong = {"nmae": "x", "framework": "caffe", "cpu": "8", "gpu": -1, "queue": "x", "command": ["a", 1, 2]}
    reply = api.call("POST", TRAINING_V1, wrong, Accept_Language="en")
    problems = reply.message.removeprefix("Invalid request: ").split("; ")
    fields = {problem.split(" ")[0] for problem in problems}
    assert fields == {
        *("name", "nmae", "framework", "script_path", "cpu", "memory", "gpu", "queue"),
        *("command[1]", "command[2]"),
    }
    assert 'cpu must be an integer from 1 to 1024 (got "8")' in problems
    assert 'nmae is not a known field, did you mean name? (got "x")' in problems
    assert 'framework is not known (known: pytorch, tensorflow) (got "caffe")' in problems


def test_jobs_reports_everything_at_once(api: Api) -> None:
    wrong = {"resourcePoolId": "mars", "resources": {"cpu": 0, "disk": 1}, "job_name": "a", "framework": "x"}
    reply = api.call("POST", JOBS, wrong)
    fields = {detail["field"] for detail in reply.body["error"]["details"]}
    assert fields == {
        *("jobName", "job_name", "command", "resourcePoolId", "framework"),
        *("resources.cpu", "resources.disk"),
    }


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        (TRAINING_V1, ["name", "framework", "script_path", "cpu", "memory", "gpu"]),
        (JOBS, ["jobName", "image", "command"]),
    ],
)
def test_an_empty_object_misses_what_the_contract_requires(api: Api, path: str, missing: list[str]) -> None:
    reply = api.call("POST", path, {})
    for field in missing:
        assert f"{field} 是必填项" in reply.message
    assert reply.message.count("必填") == len(missing)


def test_a_resource_given_twice_or_in_neither_place_is_named(api: Api) -> None:
    body = {**GOOD, "memory": None, "resources": {"cpu": 4}}
    reply = api.call("POST", TRAINING_V1, body)
    assert "resources.cpu 与 cpu 重复" in reply.message and "memory 是必填项" in reply.message


@pytest.mark.parametrize("path", [TRAINING_V1, JOBS])
def test_thousands_of_unknown_fields_give_a_short_answer(api: Api, path: str) -> None:
    reply = api.call("POST", path, {f"unknown{i}": 1 for i in range(12_000)})
    assert reply.status == 400 and len(reply.raw) < 50_000
    assert "另有" in reply.message


@pytest.mark.parametrize("path", [TRAINING_V1, JOBS])
def test_what_is_shown_of_a_value_is_short_and_printable(api: Api, path: str) -> None:
    reply = api.call("POST", path, {"x" * 5000: "y" * 5000, "\u202e\ud800\x9b": "\u2066\ud800\x9b\0"})
    shown = json.dumps(reply.body, ensure_ascii=False)
    assert len(reply.raw) < 3000
    assert not any(char in shown for char in "\u202e\u2066\ud800\x9b\0")


@pytest.mark.parametrize("path", [TRAINING_V1, JOBS])
def test_create_takes_no_query_parameters(api: Api, path: str) -> None:
    reply = api.call("POST", f"{path}?dry_run=true", GOOD)
    assert reply.status == 400 and "dry_run" in reply.message
