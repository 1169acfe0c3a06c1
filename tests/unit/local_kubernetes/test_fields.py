"""Fields that cannot be read, or would not have an effect, are refused."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.kubernetes.errors import ApiError
from infra.local.kubernetes.fields import LARGEST, check_fields
from infra.local.kubernetes.resources import JOBS

Obj = dict[str, Any]


def job(container: Obj | None = None, pod: Obj | None = None, **spec: Any) -> Obj:
    one = {"name": "main", "image": "x", **(container or {})}
    template = {"spec": {"containers": [one], **(pod or {})}}
    return {"metadata": {"name": "j"}, "spec": {"template": template, **spec}}


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        pytest.param(job(typo=1), 400, 'unknown field "spec.typo"', id="unknown"),
        pytest.param(
            job(backoff_limit=1), 400, 'unsupported field "spec.backoff_limit"', id="in another case"
        ),
        pytest.param(job(pod={"hostPID": True}), 400, '"spec.template.spec.hostPID"', id="not done here"),
        pytest.param(
            job(pod={"affinity": {"nodeAffinity": {}}}), 400, "spec.affinity", id="not done, nested"
        ),
        pytest.param(
            job({"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "s"}]}),
            400,
            'unsupported field "spec.template.spec.containers[0].volumeMounts[0].subPath"',
            id="not done, in lists",
        ),
        pytest.param(job(backoffLimit="3"), 400, "cannot unmarshal string", id="text for a number"),
        pytest.param(job(suspend=1), 400, "spec.suspend of type bool", id="number for a truth"),
        pytest.param(job(activeDeadlineSeconds=LARGEST + 1), 400, "number", id="past all dates"),
        pytest.param({"metadata": {"name": "j"}}, 422, "spec.template: Required value", id="missing"),
        pytest.param(
            job({"env": [{"value": "1"}]}),
            422,
            "containers[0].env[0].name: Required value",
            id="missing, deep",
        ),
    ],
)
def test_a_field_that_is_not_understood_is_refused(body: Obj, code: int, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        check_fields(JOBS, body)
    assert caught.value.code == code
    assert words in caught.value.message


def test_empty_settings_of_what_is_not_done_are_let_through() -> None:
    check_fields(JOBS, job({"envFrom": []}, {"affinity": {}}, activeDeadlineSeconds=LARGEST))
