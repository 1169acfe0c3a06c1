"""How API Gateway's own answers are shaped."""

from __future__ import annotations

import json
from typing import Any

from infra.local.gateway_responses import Answer, GatewayResponses

TEMPLATES: dict[str, Any] = {
    "DEFAULT_4XX": {
        "ResponseTemplates": {"application/json": '{"why": $context.error.messageString}'},
        "ResponseParameters": {"Headers": {"X-A": "'a'", "X-B": "method.request.header.B"}},
    },
    "MISSING_AUTHENTICATION_TOKEN": {
        "StatusCode": 404,
        "ResponseTemplates": {
            "application/json": '{"kind": "$context.error.responseType", "text": "$context.error.message",'
            ' "id": "$context.requestId"}'
        },
    },
}


def test_a_types_own_template_is_filled_in() -> None:
    answer = GatewayResponses(TEMPLATES).answer("MISSING_AUTHENTICATION_TOKEN", 403, 'say "x"', "1")
    assert answer.status == 404
    assert json.loads(answer.body) == {
        "kind": "MISSING_AUTHENTICATION_TOKEN",
        "text": 'say "x"',
        "id": "1",
    }


def test_a_type_without_a_template_takes_its_classs_default_and_keeps_its_status() -> None:
    answer = GatewayResponses(TEMPLATES).answer("UNAUTHORIZED", 401, "No\n")
    assert (answer.status, json.loads(answer.body)) == (401, {"why": "No\n"})
    assert ("X-A", "a") in answer.headers
    assert "X-B" not in dict(answer.headers)


def test_without_any_template_both_dialects_can_read_the_answer() -> None:
    answer = GatewayResponses({}).answer("INTEGRATION_FAILURE", 502, "Internal server error")
    assert json.loads(answer.body) == {
        "code": 50200,
        "success": False,
        "message": "Internal server error",
        "data": None,
        "error": {"code": "InternalError", "details": []},
    }


def test_of_every_type_a_page_of_the_one_origin_may_read_the_answer() -> None:
    responses = GatewayResponses(TEMPLATES, origin="https://app.example")
    for kind in ("MISSING_AUTHENTICATION_TOKEN", "UNAUTHORIZED", "BAD_REQUEST"):
        answer = responses.answer(kind, 400, "No")
        assert ("Access-Control-Allow-Origin", "https://app.example") in answer.headers
    assert "Access-Control-Allow-Origin" not in dict(GatewayResponses(TEMPLATES).answer("X", 400, "").headers)


def test_a_browsers_question_is_answered_as_the_template_says() -> None:
    cors = {"AllowHeaders": "'Prefer'", "MaxAge": "'60'", "AllowOrigin": {"Fn::If": []}}
    answer = GatewayResponses({}, cors, "*").preflight({"POST", "GET"})
    assert (answer.status, dict(answer.headers)) == (
        200,
        {
            "Content-Type": "application/json",
            "Access-Control-Allow-Methods": "GET,OPTIONS,POST",
            "Access-Control-Allow-Headers": "Prefer",
            "Access-Control-Max-Age": "60",
            "Access-Control-Allow-Origin": "*",
        },
    )
    assert "Access-Control-Allow-Origin" not in dict(GatewayResponses({}, cors).preflight({"GET"}).headers)


def test_a_functions_headers_are_passed_on_but_not_those_of_the_connection() -> None:
    answer = Answer.of_lambda(
        {
            "statusCode": 200,
            "headers": {"X-One": "1", "Content-Length": "99", "Connection": "close"},
            "multiValueHeaders": {"Set-Cookie": ["a", "b"]},
            "body": "aGk=",
            "isBase64Encoded": True,
        }
    )
    assert answer.headers == [
        ("X-One", "1"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
        ("Content-Type", "application/json"),
    ]
    assert answer.body == b"hi"
