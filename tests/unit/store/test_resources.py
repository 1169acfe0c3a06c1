"""The table of infra/resources.yaml fits the code and DynamoDB's limits."""

from __future__ import annotations

from dataclasses import fields

from chalicelib.domain.job import JobSummary
from chalicelib.store import keys
from chalicelib.store.items import to_item
from chalicelib.store.keys import job_key
from infra.local import filters, template
from infra.local.config import RESOURCES
from infra.local.delivery import Policy
from tests.unit.store.events import JOB_ID, an_event
from tests.unit.store.support import Bench, a_job, jobs_table

INDEXES = [
    keys.BY_TENANT,
    keys.BY_STATUS,
    keys.BY_WORKSPACE,
    keys.BY_WORKSPACE_STATUS,
    keys.ALL_JOBS,
    keys.ALL_BY_STATUS,
]


def test_the_indexes_are_those_of_the_code() -> None:
    built = {
        index["IndexName"]: [key["AttributeName"] for key in index["KeySchema"]]
        for index in jobs_table()["GlobalSecondaryIndexes"]
    }
    assert built == {index.name: [index.key, "id"] for index in INDEXES}


def test_an_index_projects_what_a_list_shows_and_searches_and_nothing_else() -> None:
    shown = {field.name for field in fields(JobSummary)} - {"id"} | {"search"}
    for index in jobs_table()["GlobalSecondaryIndexes"]:
        projected = index["Projection"]["NonKeyAttributes"]
        assert len(projected) == len(set(projected))
        assert set(projected) == shown


def test_the_projections_fit_dynamodbs_limits() -> None:
    projected = [index["Projection"]["NonKeyAttributes"] for index in jobs_table()["GlobalSecondaryIndexes"]]
    assert sum(map(len, projected)) <= 100
    assert max(map(len, projected)) <= 20


def test_the_records_are_kept_safe() -> None:
    resource = template.read(RESOURCES)["Resources"]["JobsTable"]
    assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"
    assert resource["Properties"]["DeletionProtectionEnabled"] is True
    assert resource["Properties"]["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert resource["Properties"]["SSESpecification"]["SSEEnabled"] is True
    assert resource["Properties"]["TimeToLiveSpecification"]["AttributeName"] == "expires_at"


def test_an_event_does_not_wake_the_outbox_and_a_record_does(bench: Bench) -> None:
    patterns = Policy.of(template.stream_mapping(template.read(RESOURCES), "Outbox")).patterns
    bench.store.add_event(JOB_ID, an_event())
    answer = bench.client.query(
        TableName=bench.table,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": job_key(JOB_ID)["pk"]},
    )
    (event,) = answer["Items"]
    assert not filters.passes({"dynamodb": {"NewImage": event}}, patterns)
    assert filters.passes({"dynamodb": {"NewImage": to_item(a_job())}}, patterns)
