"""The authorizer's answers to API Gateway, the handlers' trust in them, and what the api function loads."""

from __future__ import annotations

import string
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from chalice.app import Request

from app import app
from chalicelib import errors
from chalicelib.api.auth import authorizer
from chalicelib.api.messages import ERRORS, MESSAGES, PROBLEMS
from chalicelib.api.refusals import STATUSES
from chalicelib.api.requests import Call
from chalicelib.errors import NotAuthenticated, TrainyardError
from chalicelib.services.caller import Caller, Role

ARN = "arn:aws:execute-api:eu-central-1:123456789012:abc123/api/GET/api/v1/training/jobs"
HEAVY = ("boto3", "botocore", "kubernetes", "cryptography", "jwt")


def authorize(header: str) -> Any:
    return authorizer({"type": "TOKEN", "authorizationToken": header, "methodArn": ARN}, {})


def call_with(context: dict[str, Any]) -> Call:
    return Call(
        Request(
            {
                "multiValueQueryStringParameters": None,
                "headers": None,
                "pathParameters": None,
                "requestContext": {"httpMethod": "GET", "resourcePath": "/", **context},
                "body": None,
                "stageVariables": None,
            }
        )
    )


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("header", ["Bearer acme:member,viewer", "bearer  acme:member,viewer "])
def test_a_good_token_may_call_every_route_and_names_the_caller(header: str) -> None:
    answer = authorize(header)
    assert answer["principalId"] == "acme-user"
    assert answer["context"] == {"tenant": "acme", "roles": "member,viewer"}
    (statement,) = answer["policyDocument"]["Statement"]
    assert statement["Effect"] == "Allow"
    assert statement["Resource"] == ["arn:aws:execute-api:eu-central-1:123456789012:abc123/api/*/*"]


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "acme:member", "Bearer nonsense"])
def test_everything_else_is_what_api_gateway_turns_into_401(header: str) -> None:
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        authorize(header)


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"authorizer": None},
        {"authorizer": {"principalId": "ada"}},
        {"authorizer": {"principalId": "ada", "tenant": "acme", "roles": ""}},
        {"authorizer": {"principalId": "ada", "tenant": "", "roles": "admin"}},
        {"authorizer": {"principalId": "ada", "tenant": "acme", "roles": "root"}},
    ],
)
def test_a_request_that_did_not_pass_the_authorizer_has_no_caller(context: dict[str, Any]) -> None:
    with pytest.raises(NotAuthenticated):
        _ = call_with(context).caller


def test_the_caller_is_rebuilt_from_the_authorizers_context() -> None:
    context = {"authorizer": {"principalId": "ada", "tenant": "acme", "roles": "admin,viewer"}}
    assert call_with(context).caller == Caller("acme", "ada", frozenset({Role.ADMIN, Role.VIEWER}))


def test_every_route_is_guarded() -> None:
    entries = [entry for methods in app.routes.values() for entry in methods.values()]
    assert len(entries) == 15
    assert all(entry.authorizer is authorizer for entry in entries)


def test_the_routes_are_those_of_the_contracts() -> None:
    job = "/api/v1/training/jobs/{job}"
    assert {path: set(methods) for path, methods in app.routes.items()} == {
        "/api/v1/training/jobs": {"GET", "POST"},
        job: {"GET", "DELETE"},
        job + "/stop": {"POST"},
        job + "/logs": {"GET"},
        "/api/jobs": {"POST"},
        "/api/jobs/create": {"POST"},
        "/api/jobs/{job}": {"GET", "DELETE"},
        "/api/jobs/{job}/stop": {"POST"},
        "/api/jobs/{job}/events": {"GET"},
        "/api/jobs/{job}/pods": {"GET"},
        "/api/jobs/{job}/pods/{pod}/logs": {"GET"},
        "/api/jobs/{job}/pods/{pod}/webterminal": {"GET"},
    }


def test_the_routes_load_nothing_that_only_other_functions_need() -> None:
    imports = "import sys, chalicelib.api.auth, chalicelib.api.jobs, chalicelib.api.training_v1"
    script = f"{imports}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def every_error() -> Iterator[type[TrainyardError]]:
    pending = [TrainyardError]
    while pending:
        kind = pending.pop()
        yield kind
        pending += kind.__subclasses__()


def test_every_error_has_a_status_and_a_sentence() -> None:
    codes = {kind.code for kind in every_error() if kind.__module__ == errors.__name__}
    assert codes == STATUSES.keys() == ERRORS.keys()
    assert len(set(STATUSES.values())) == len(STATUSES)


@pytest.mark.parametrize("catalogue", [MESSAGES, ERRORS, PROBLEMS], ids=["messages", "errors", "problems"])
def test_both_languages_fill_in_the_same_values(catalogue: dict[str, tuple[str, str]]) -> None:
    def names(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert [key for key, (zh, en) in catalogue.items() if names(zh) != names(en)] == []
