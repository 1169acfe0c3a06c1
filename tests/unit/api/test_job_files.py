"""Job files: both dialects, each error under its dialect's own name, with its path and line in the file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.api import jobs_schemas, strict_json, training_v1_schemas
from chalicelib.api.job_files import JobFiles
from chalicelib.errors import FieldError
from chalicelib.services.uploads import BadFile, Wanted
from chalicelib.settings import load
from tests.unit.api.conftest import SETTINGS
from tests.unit.api.test_bad_create import GOOD, GOOD_JOBS, JOBS_NAMES, WRONG_VALUES, ids

FILES = JobFiles(load(SETTINGS))
EVERY_FIELD: dict[str, Any] = {
    "description": "d",
    "workspaceId": 1,
    "datasetId": 2,
    "resourcePoolId": "default",
    "queue": "urgent",
    "resources": {"cpu": 2, "memory": 2**30, "gpu": 0},
    "priority": 7,
    "env": {"A": "1"},
    "nodes": 2,
    "maxRetries": 3,
    "maxRuntimeSeconds": 60,
    "labels": {"team": "vision"},
    "clientToken": "t",
    "dryRun": True,
}


def read(value: Any, name: str = "job.json") -> list[Wanted]:
    content = value if isinstance(value, str) else json.dumps(value, indent=1)
    return list(FILES.read(content.encode(), name))


def errors_of(value: Any, name: str = "job.json") -> list[tuple[int | None, str, str]]:
    """Line, field and problem of all that is wrong."""
    with pytest.raises(BadFile) as bad:
        read(value, name)
    return [(line, error.field, error.problem) for line, error in bad.value.errors]


@pytest.mark.parametrize(
    ("body", "schemas"),
    [
        pytest.param(GOOD, training_v1_schemas, id="training-v1"),
        pytest.param(
            GOOD | {"image": "i", "command": ["a"], "dry_run": True}, training_v1_schemas, id="more"
        ),
        pytest.param(GOOD_JOBS, jobs_schemas, id="jobs"),
        pytest.param(GOOD_JOBS | EVERY_FIELD, jobs_schemas, id="jobs, with every field"),
        pytest.param(
            {"jobName": "a", "framework": "pytorch", "scriptPath": "/workspace/a.py"},
            jobs_schemas,
            id="framework",
        ),
    ],
)
@pytest.mark.parametrize("as_list", [False, True], ids=["alone", "in a list"])
@pytest.mark.parametrize("name", ["job.json", "job.yaml", "job.yml"])
def test_a_job_in_a_file_is_the_job_that_its_dialect_creates(
    body: dict[str, Any], schemas: Any, as_list: bool, name: str
) -> None:
    (wanted,) = read([body] if as_list else body, name)
    created = schemas.creation(strict_json.parse(json.dumps(body).encode()), load(SETTINGS))
    assert wanted.request == created.request
    assert (wanted.client_token, wanted.dry_run) == (created.client_token, created.dry_run)
    assert wanted.bundle is None


@pytest.mark.parametrize("case", WRONG_VALUES, ids=ids(WRONG_VALUES))
@pytest.mark.parametrize("dialect", ["training-v1", "jobs"])
def test_a_wrong_field_is_named_as_its_dialect_names_it_with_its_place_in_the_file(
    dialect: str, case: tuple[str, str, Any, str]
) -> None:
    _, field, value, named = case
    name = JOBS_NAMES.get(field, field) if dialect == "jobs" else field
    outer, _, inner = name.partition(".")
    good = GOOD_JOBS if dialect == "jobs" else GOOD
    bad = good | {outer: {inner: value} if inner else value}
    ((line, found, _),) = errors_of([good, bad])
    assert found == f"[1].{named or name}"
    written = json.dumps([good, bad], indent=1).splitlines()
    assert line is not None
    assert json.dumps(name.split(".")[0]) in "\n".join(written[len(good) + 1 : line])


MIXED = """\
# a list of both
- name: one
  framework: pytorch
  script_path: /workspace/train.py
  cpu: 1
  memory: 1073741824
  gpu: 0
- jobName: two
  image: python
  command: [python, -V]
"""


def test_a_list_may_mix_the_dialects() -> None:
    one, two = read(MIXED, "jobs.yaml")
    assert [(wanted.line, wanted.request.name) for wanted in (one, two)] == [(2, "one"), (8, "two")]
    assert (one.request.framework, two.request.image) == ("pytorch", "python")


def test_all_that_is_wrong_is_told_with_its_line() -> None:
    bad = MIXED.replace("cpu: 1", "cpu: lots").replace(
        "[python, -V]", "\n    - python\n    - 3\n  prioritty: 3"
    )
    assert errors_of(bad + "- 7\n", "jobs.yaml") == [
        (5, "[0].cpu", "integer"),
        (12, "[1].command[1]", "word"),
        (13, "[1].prioritty", "misspelt_field"),
        (14, "[2]", "json_not_object"),
    ]


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        pytest.param({"jobName": "a", "image": "i"}, "command", "missing", id="jobName: jobs"),
        pytest.param({"name": "a"}, "framework", "missing", id="name: training-v1"),
        pytest.param({"image": "i", "workspaceId": 1}, "jobName", "missing", id="fields of jobs only"),
        pytest.param({"image": "i", "workspace_id": 1}, "name", "missing", id="fields of training-v1 only"),
        pytest.param(
            {"name": "a", "jobName": "b", "resourcePoolId": "x"}, "resourcePoolId", "unknown", id="both"
        ),
        pytest.param({}, "name", "missing", id="nothing"),
        pytest.param({"bundle": "a.zip"}, "name", "missing", id="a bundle says nothing"),
        pytest.param(GOOD_JOBS | {"client_token": "a"}, "client_token", "misspelt_field", id="of the other"),
        pytest.param(GOOD | {"workspaceId": 1}, "workspaceId", "misspelt_field", id="of the other way round"),
        pytest.param(GOOD_JOBS | {"bundel": "a.zip"}, "bundel", "unknown_field", id="a misspelt bundle"),
        pytest.param(GOOD_JOBS | {"resourcePoolId": "mars"}, "resourcePoolId", "unknown", id="no such pool"),
        pytest.param(
            GOOD | {"resource_pool_id": "mars"}, "resource_pool_id", "unknown", id="nor in training-v1"
        ),
    ],
)
def test_the_dialect_follows_from_the_fields_and_errors_have_its_names(
    body: dict[str, Any], field: str, problem: str
) -> None:
    assert (field, problem) in [(found, why) for _, found, why in errors_of(body)]


@pytest.mark.parametrize("bundle", [7, "", "x" * 256, ["a.zip"], {"a": 1}, True])
@pytest.mark.parametrize("good", [GOOD, GOOD_JOBS], ids=["training-v1", "jobs"])
def test_a_bundle_is_a_name(good: dict[str, Any], bundle: Any) -> None:
    assert errors_of(good | {"bundle": bundle}) == [
        (len(json.dumps(good, indent=1).splitlines()), "bundle", "text")
    ]


@pytest.mark.parametrize("bundle", ["code.tar.gz", "x" * 255, None])
def test_a_bundle_is_taken_as_it_is(bundle: str | None) -> None:
    (wanted,) = read(GOOD_JOBS | {"bundle": bundle})
    assert (wanted.bundle, wanted.request.bundle) == (bundle, None)


@pytest.mark.parametrize(
    ("text", "name", "wrong"),
    [
        pytest.param("[]", "a.json", (1, "file", "file_jobs"), id="no job in JSON"),
        pytest.param("", "a.yaml", (1, "file", "file_jobs"), id="nothing in YAML"),
        pytest.param("", "a.json", (1, "file", "json_syntax"), id="nothing in JSON"),
        pytest.param("null", "a.json", (1, "file", "json_not_object"), id="null"),
        pytest.param("\n\nword", "a.yml", (3, "file", "json_not_object"), id="a word"),
        pytest.param("[\n[{}]]", "a.json", (2, "[0]", "json_not_object"), id="a list in the list"),
        pytest.param("a: 1\nb: [", "a.yaml", (3, "file", "yaml_syntax"), id="no YAML"),
        pytest.param('{\n"a": }', "a.json", (2, "file", "json_syntax"), id="no JSON"),
        pytest.param("name: a", "a.json", (1, "file", "json_syntax"), id="YAML in a .json"),
        pytest.param("a: &x\n<<: 1", "a.yaml", (2, "file", "yaml_merge"), id="a bad merge"),
        pytest.param("a:\n  " + "[" * 50, "a.yaml", (2, "file", "json_depth"), id="too deep"),
        pytest.param(
            "- a: 1\n- a:\n    " + "[" * 35 + "]" * 35, "a.yaml", (2, "[1]", "json_depth"), id="a deep job"
        ),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_says_where(text: str, name: str, wrong: Any) -> None:
    assert wrong in errors_of(text, name)


def test_a_file_of_a_thousand_jobs_is_read_and_one_more_is_too_many() -> None:
    wanted = read([GOOD_JOBS | {"jobName": f"job {n}"} for n in range(1000)])
    assert [one.request.name for one in wanted] == [f"job {n}" for n in range(1000)]
    assert errors_of([GOOD_JOBS] * 1001) == [(1, "file", "file_jobs")]
    assert errors_of("- {}\n" * 1001, "jobs.yaml") == [(1, "file", "file_jobs")]


def test_each_job_has_its_own_token_and_its_own_dry_run() -> None:
    text = (
        "- &job {jobName: a, image: i, command: [a], clientToken: t, dryRun: true}\n"
        "- {<<: *job, jobName: b, clientToken: u, dryRun: false}\n"
        "- {jobName: c, image: i, command: [a]}\n"
    )
    found = [(one.request.name, one.client_token, one.dry_run) for one in read(text, "jobs.yaml")]
    assert found == [("a", "t", True), ("b", "u", False), ("c", None, False)]


def test_what_is_found_wrong_later_is_named_and_placed_too() -> None:
    one, two = read(MIXED, "jobs.yaml")
    assert one.locate(FieldError("pool", "unknown")) == (2, FieldError("[0].resource_pool_id", "unknown"))
    assert two.locate(FieldError("name", "missing")) == (8, FieldError("[1].jobName", "missing"))
    assert two.locate(FieldError("command", "word")) == (10, FieldError("[1].command", "word"))
    (alone,) = read(GOOD_JOBS)
    assert alone.locate(FieldError("client_token", "token_used")) == (
        1,
        FieldError("clientToken", "token_used"),
    )


@pytest.mark.parametrize(
    ("language", "message"),
    [
        ("", "是必填项"),
        ("zh-CN", "是必填项"),
        ("en", "is required"),
        ("en-GB,en;q=0.9", "is required"),
        ("xx", "是必填项"),
        ("\x00;;q=,", "是必填项"),
    ],
    ids=["none", "Chinese", "English", "by a browser", "unknown", "nonsense"],
)
def test_errors_are_in_chinese_unless_the_file_asks_for_english(language: str, message: str) -> None:
    shown = FILES.worded((3, FieldError("[1].name", "missing")), language)
    assert shown == {"line": 3, "field": "[1].name", "message": message, "value": None}


def test_what_is_shown_of_a_file_is_short_and_can_be_printed() -> None:
    long, keyed = "x" * 5000, "k\x1b" * 5000
    shown = FILES.worded((1, FieldError(keyed, "text", [long], {"low": 1, "high": 2})), "en")
    assert len(shown["field"]) < 500 and shown["field"].isprintable()
    assert len(shown["value"]) <= 81


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"a: !<{'x' * 5000}> 1", id="a tag"),
        pytest.param(f"a: *{'x' * 5000}", id="an alias"),
        pytest.param(f"{'k' * 1000}:\n  <<: 1", id="a merge"),
        pytest.param(f"a: 1\n'{'k' * 5000}", id="a syntax error"),
    ],
)
def test_what_is_said_of_a_file_is_short(text: str) -> None:
    with pytest.raises(BadFile) as bad:
        read(text, "a.yaml")
    (wrong,) = bad.value.errors
    assert len(FILES.worded(wrong, "en")["message"]) < 250
