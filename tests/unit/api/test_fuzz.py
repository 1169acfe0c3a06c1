"""Whatever is sent, the answer is in the envelope and never a 500."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.api import jobs_schemas, training_v1_schemas
from tests.unit.api.conftest import World
from tests.unit.api.fakes import Reply
from tests.unit.api.test_bad_create import GOOD, GOOD_JOBS

V1 = "/api/v1/training/jobs"
CREATES = [
    (V1, GOOD, list(training_v1_schemas.CreateBody.model_fields)),
    (
        "/api/jobs/create",
        GOOD_JOBS,
        [info.alias or name for name, info in jobs_schemas.CreateBody.model_fields.items()],
    ),
    ("/api/jobs", {}, [info.alias or name for name, info in jobs_schemas.ListBody.model_fields.items()]),
]
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.text(st.characters(categories=["Cs", "Cc", "Zl", "Ll"]), max_size=3)
    | st.sampled_from([2**63, -(2**63), 2**63 - 1, 10**30, "/workspace/train.py", "pytorch", "\0", "Running"])
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
calm = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def is_answered(reply: Reply) -> bool:
    return reply.status < 500 and (reply.body.get("code") is not None or "success" in reply.body)


@pytest.mark.parametrize(("path", "good", "names"), CREATES, ids=[path for path, _, _ in CREATES])
@calm
@given(data=st.data())
def test_any_value_in_any_field(
    world: World, path: str, good: dict[str, Any], names: list[str], data: st.DataObject
) -> None:
    fields = data.draw(st.dictionaries(st.sampled_from(names) | st.text(max_size=10), values, max_size=5))
    # json writes NaN, Infinity and lone surrogates as hostile clients do.
    reply = world.api.call("POST", path, raw=json.dumps(good | fields))
    assert is_answered(reply), reply


@pytest.mark.parametrize("path", [path for path, _, _ in CREATES])
@calm
@given(
    body=st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | values.map(json.dumps).map(str.encode)
)
def test_any_body(world: World, path: str, body: bytes) -> None:
    assert is_answered(world.api.call("POST", path, raw=body))


@calm
@given(
    query=st.dictionaries(
        st.sampled_from(["page", "page_size", "status", "workspace_id"]) | st.text("ab%&=+", max_size=4),
        st.text("0123456789-+.e%&=\u0661 running", max_size=12) | st.sampled_from(["1", "20", "running"]),
    )
)
def test_any_query(world: World, query: dict[str, str]) -> None:
    pairs = "&".join(f"{name}={value}" for name, value in query.items())
    assert is_answered(world.api.call("GET", f"{V1}?{pairs}"))


@calm
@given(header=st.text(st.characters(max_codepoint=255), max_size=40))
def test_any_header(world: World, header: str) -> None:
    headers = {"Accept_Language": header, "Prefer": header, "Idempotency_Key": header, "Content_Type": header}
    assert is_answered(world.api.call("POST", V1, GOOD, **headers))
