"""What the simulated functions ask of the table, their roles in infra/resources.yaml allow, and no more.

MiniStack does not refuse what a role leaves out, and code that bears a refusal would hide it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest

from chalicelib.services.ports import ListQuery
from chalicelib.store.keys import Scope, counter_key
from infra.local import template
from infra.local.config import RESOURCES
from tests.proof.crashes import play
from tests.proof.scenarios import SCENARIOS
from tests.proof.world import World

ROLES = {
    "api": "ApiHandlerRole",
    "outbox": "OutboxRole",
    "sync": "SyncRole",
    "uploads": "UploadsRole",
    "upload_status": "UploadStatusRole",
    "recount": "RecountRole",
}
# What is asked only where something went wrong on the way, or by calls that no story makes.
SELDOM = {
    "outbox": {"dynamodb:DeleteItem"},  # a tombstone whose Job was never made
}
WRONG = {"failed": {"N": "99"}}  # of a counter
TABLE = {"Fn::GetAtt": ["JobsTable", "Arn"]}
Asked = Mapping[str, set[str]]


class Recorder:
    """A client that notes which function asks for what, as IAM names it."""

    def __init__(self, world: World, asked: defaultdict[str, set[str]]) -> None:
        self._world = world
        self._asked = asked
        self._client = world.dynamo

    def __getattr__(self, operation: str) -> Any:
        def ask(**request: Any) -> Any:
            worker = self._world.scheduler.running
            assert worker is not None, "only workers make calls"
            self._asked[worker.name].update(actions(operation, request))
            return getattr(self._client, operation)(**request)

        return ask


def actions(operation: str, request: Mapping[str, Any]) -> set[str]:
    """A transaction takes the right to each of its actions, and none of its own:
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html"""
    if operation == "transact_write_items":
        return {f"dynamodb:{kind}Item" for action in request["TransactItems"] for kind in action}
    return {f"dynamodb:{''.join(map(str.capitalize, operation.split('_')))}"}


def allowed(role: str) -> set[str]:
    """What the role allows on the table, its indexes aside."""
    policies = template.read(RESOURCES)["Resources"][role]["Properties"]["Policies"]
    found: set[str] = set()
    for statement in (one for policy in policies for one in policy["PolicyDocument"]["Statement"]):
        resources = (
            statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        )
        if TABLE in resources:
            named = statement["Action"]
            found |= {named} if isinstance(named, str) else set(named)
    return found


@pytest.fixture(scope="module")
def asked() -> Asked:
    """All that every story asks, and what people ask beside."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for scenario in SCENARIOS:
        with closing(World()) as world:
            world.dynamo = Recorder(world, found)
            play(scenario, world)
            world.call(lambda parts: parts.store.list(ListQuery(tenant="acme")))
            world.table.put_item(Item={**counter_key(Scope("acme"), 0), "version": {"N": "1"}, **WRONG})
            world.call(lambda parts: parts.store.recount("acme"), "recount")
    return found


@pytest.mark.parametrize("function", ROLES)
def test_a_function_may_do_what_it_does_and_no_more(asked: Asked, function: str) -> None:
    assert asked[function] | SELDOM.get(function, set()) == allowed(ROLES[function])


def test_no_other_function_asks_the_table(asked: Asked) -> None:
    assert asked.keys() == ROLES.keys()
