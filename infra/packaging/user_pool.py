"""Takes the user pool out of the template of a stage that makes none.

A condition would do, but that CloudFormation refuses a template with a type that its region does not have,
whatever the conditions say; and China's regions have no user pools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CONDITION = "UserPoolIsMade"


def without(template: Mapping[str, Any]) -> dict[str, Any]:
    """The packaged template, for SignIn=issuer alone."""
    kept: dict[str, Any] = _settled(template)
    for section in ("Resources", "Outputs"):
        kept[section] = {k: v for k, v in kept[section].items() if v.get("Condition") != CONDITION}
    del kept["Conditions"][CONDITION]
    kept["Parameters"]["SignIn"]["AllowedValues"] = ["issuer"]
    return kept


def _settled(value: Any) -> Any:
    """The value where the condition is false."""
    match value:
        case {"Fn::If": [condition, _, otherwise]} if condition == CONDITION:
            return _settled(otherwise)
        case dict():
            return {name: _settled(each) for name, each in value.items()}
        case list():
            return [_settled(each) for each in value]
    return value
