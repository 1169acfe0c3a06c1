"""Event patterns against stream records."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.filters import UnknownPattern, matches, parse, passes

RECORD = {
    "eventName": "MODIFY",
    "dynamodb": {"NewImage": {"status": {"S": "pending"}, "version": {"N": "3"}, "gone": {"BOOL": False}}},
}


def image(**rules: Any) -> dict[str, Any]:
    return {"dynamodb": {"NewImage": rules}}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param({}, True, id="an empty pattern"),
        pytest.param({"eventName": ["INSERT", "MODIFY"]}, True, id="one of several"),
        pytest.param({"eventName": ["REMOVE"]}, False, id="none of them"),
        pytest.param(image(status={"S": ["pending"]}), True, id="deep inside"),
        pytest.param(image(status={"S": [{"prefix": "pend"}]}), True, id="a prefix"),
        pytest.param(image(status={"S": [{"suffix": "ed"}]}), False, id="not its suffix"),
        pytest.param(image(status={"S": [{"equals-ignore-case": "PENDING"}]}), True, id="whatever the case"),
        pytest.param(image(status={"S": [{"anything-but": ["stopped"]}]}), True, id="anything but another"),
        pytest.param(image(status={"S": [{"anything-but": "pending"}]}), False, id="anything but itself"),
        pytest.param(image(status={"S": [{"anything-but": {"prefix": "p"}}]}), False, id="but its prefix"),
        pytest.param(image(nothing={"S": [{"exists": False}]}), True, id="absent as wanted"),
        pytest.param(image(nothing={"S": [{"exists": True}]}), False, id="absent against the wish"),
        pytest.param(image(nothing={"S": [{"anything-but": ["x"]}]}), False, id="absent is not another"),
        pytest.param(image(gone={"BOOL": [False]}), True, id="a boolean"),
        pytest.param(image(gone={"BOOL": [0]}), False, id="a boolean is no number"),
        pytest.param(image(version={"N": [{"numeric": [">", 2]}]}), False, id="a DynamoDB number is text"),
        pytest.param({"$or": [{"eventName": ["REMOVE"]}, {"eventName": ["MODIFY"]}]}, True, id="or"),
        pytest.param({"eventName": ["MODIFY"], **image(status={"S": ["x"]})}, False, id="and"),
    ],
)
def test_a_pattern_matches_all_of_its_fields(pattern: dict[str, Any], expected: bool) -> None:
    assert matches(pattern, RECORD) is expected


@pytest.mark.parametrize(
    ("operand", "value", "expected"),
    [
        (["=", 3], 3, True),
        ([">", 1, "<=", 3], 3, True),
        ([">", 1, "<", 3], 3, False),
        (["=", 1], True, False),
    ],
)
def test_numbers_are_compared(operand: list[Any], value: Any, expected: bool) -> None:
    assert matches({"n": [{"numeric": operand}]}, {"n": value}) is expected


def test_any_of_a_criterias_filters_lets_a_record_through() -> None:
    patterns = parse(
        {"Filters": [{"Pattern": '{"eventName":["X"]}'}, {"Pattern": '{"eventName":["MODIFY"]}'}]}
    )
    assert passes(RECORD, patterns)
    assert not passes(RECORD, patterns[:1])


def test_no_criteria_let_everything_through() -> None:
    assert passes(RECORD, parse(None))


def test_an_operator_that_is_not_known_is_said_to_be() -> None:
    with pytest.raises(UnknownPattern, match="cidr"):
        matches({"eventName": [{"cidr": "10.0.0.0/8"}]}, RECORD)
