"""A job's whole way through deployed functions, an update over it, and the end of the stack."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.config import STATE_CHANGE_BUS
from infra.packaging import measure
from tests.e2e.conftest import wait_for
from tests.packaged.conftest import ORIGIN, STAGE, TENANT, Deployment, Users

JOBS = "/api/v1/training/jobs"
ENDED = ("succeeded", "failed", "stopped")


def test_the_authorizer_lets_nobody_in_without_a_good_token(deployment: Deployment) -> None:
    assert deployment.call("GET", "/api/v1/training/jobs", token="").status_code == 401
    assert deployment.call("GET", "/api/v1/training/jobs", token="a.b.c").status_code in (401, 403)
    assert deployment.call("GET", "/api/v1/training/jobs").json()["data"]["items"] == []


def test_a_page_of_the_one_origin_may_ask_and_read(deployment: Deployment) -> None:
    """MiniStack gives a preflight no headers: SAM's own output is looked at for them."""
    assert deployment.call("OPTIONS", "/api/jobs/create", token="").status_code == 200
    processed = deployment.client("cloudformation").get_template(
        StackName=f"trainyard-{STAGE}", TemplateStage="Processed"
    )["TemplateBody"]
    paths = processed["Resources"]["RestAPI"]["Properties"]["Body"]["paths"]
    name = "method.response.header.Access-Control-Allow-Origin"
    for path in paths.values():
        answered = path["options"]["x-amazon-apigateway-integration"]["responses"]["default"]
        assert answered["responseParameters"][name]["Fn::If"][:2] == [
            "CorsIsOn",
            {"Fn::Sub": "'${CorsOrigin}'"},
        ]
    answer = deployment.call("GET", "/api/jobs/nothing")
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (404, ORIGIN)


def test_the_api_has_no_stage_but_the_one_that_is_throttled(deployment: Deployment) -> None:
    stages = deployment.client("apigateway").get_stages(restApiId=deployment.outputs()["RestAPIId"])["item"]
    assert [(stage["stageName"], set(stage["methodSettings"])) for stage in stages] == [("api", {"*/*"})]


def test_a_job_runs_and_its_moves_reach_a_rule_on_the_bus(deployment: Deployment) -> None:
    told = subscribe(deployment)
    job_id = deployment.create("sh", "-c", "echo from the cluster; sleep 2")
    job = deployment.until(job_id, lambda job: job["status"] in ENDED)
    assert (job["status"], job["reason"]) == ("succeeded", "Completed"), job
    answer = deployment.call("GET", f"/api/v1/training/jobs/{job_id}/logs")
    assert answer.json()["data"]["logs"] == ["from the cluster"]
    moves: list[tuple[Any, Any]] = []

    def heard() -> list[tuple[Any, Any]]:
        moves.extend((one["from"], one["to"]) for one in told() if one["id"] == job_id)
        return moves

    wait_for(heard, lambda moves: any(to == "succeeded" for _, to in moves))
    assert moves[0] == (None, "pending")


def test_the_outbox_tells_of_a_submission_in_the_trace_of_the_request(deployment: Deployment) -> None:
    job_id = deployment.create("true")
    segment = deployment.segment(job_id)
    assert f"{segment['trace_id']}:{segment['parent_id']}" == deployment.item(job_id)["trace"]["S"]
    assert segment["metadata"]["trainyard"]["outbox_trace"] != segment["trace_id"]
    created = segment["subsegments"][0]["http"]
    assert (created["request"]["method"], created["response"]["status"]) == ("POST", 201)


def test_a_stop_ends_the_job_in_the_cluster(deployment: Deployment) -> None:
    job_id = deployment.create("sh", "-c", "trap 'exit 1' TERM; sleep 600 & wait")
    deployment.until(job_id, lambda job: job["status"] == "running")
    assert deployment.call("POST", f"/api/v1/training/jobs/{job_id}/stop").status_code == 200
    assert deployment.until(job_id, lambda job: job["status"] in ENDED)["status"] == "stopped"


def test_a_file_in_the_bucket_becomes_a_job_with_a_status_file_beside_it(deployment: Deployment) -> None:
    s3, bucket = deployment.client("s3"), deployment.outputs()["SubmissionsBucketName"]
    key = f"submissions/{TENANT}/job"
    job = {"jobName": "file", "image": "python:3.11", "command": ["echo", "out of the bucket"]}
    s3.put_object(Bucket=bucket, Key=f"{key}.json", Body=json.dumps(job))

    def status() -> Any:
        try:
            return json.loads(s3.get_object(Bucket=bucket, Key=f"{key}.status.json")["Body"].read())
        except ClientError:
            return None

    (shown,) = wait_for(status, lambda status: status and status["state"] != "active")["jobs"]
    assert (shown["status"], shown["reason"]) == ("succeeded", "Completed")
    trace_id = deployment.segment(shown["job_id"])["trace_id"]
    assert deployment.item(shown["job_id"])["trace"]["S"].startswith(trace_id), "of the uploads function"


def test_a_recount_counts_what_the_list_does(deployment: Deployment) -> None:
    payload = json.dumps({"tenant": TENANT})
    name = deployment.functions()["Recount"]
    answer = deployment.client("lambda").invoke(FunctionName=name, Payload=payload)
    counted = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, counted
    listed = deployment.call("GET", "/api/v1/training/jobs").json()["data"]["pagination"]["total"]
    assert sum(counted.values()) == listed > 0


def test_all_of_that_ran_in_deployed_functions(deployment: Deployment) -> None:
    assert deployment.invoked() == set(deployment.functions()) == set(measure.FIRST_CALL)


def test_alarms_watch_and_a_dashboard_shows_what_was_deployed(deployment: Deployment) -> None:
    cloudwatch = deployment.client("cloudwatch")
    watched = {
        dimension["Value"]
        for alarm in cloudwatch.describe_alarms()["MetricAlarms"]
        for dimension in alarm["Dimensions"]
    }
    by_hand = {deployment.functions()["Recount"]}
    assert set(deployment.functions().values()) - watched == by_hand
    begin, _, name = deployment.outputs()["DashboardUrl"].rpartition("/")
    assert begin.startswith("https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#")
    body = cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"]
    assert deployment.functions()["Sync"] in body and "${" not in body


def test_a_deploy_over_the_stack_keeps_what_it_holds_though_others_sign_in_now(
    deployment: Deployment, users: Users
) -> None:
    outputs = deployment.outputs()
    assert users.before.items() <= outputs.items()
    assert outputs.keys() - users.before.keys() == {"UserPoolId", "UserPoolClientId"}
    assert deployment.api_deployment() != users.deployed_before, "what a parameter changes in the API"
    (group,) = deployment.client("logs").describe_log_groups(logGroupNamePrefix="/trainyard/jobs")[
        "logGroups"
    ]
    assert group["retentionInDays"] == 14, "it was updated"
    users.make("ada", tenant=TENANT, group="member")
    token = users.sign_in("ada")["IdToken"]
    listed = deployment.call("GET", JOBS, token=token).json()["data"]["items"]
    assert "file" in [job["name"] for job in listed]
    assert deployment.call("GET", JOBS).status_code == 401, "the issuer of before is none any more"


def test_who_is_in_the_user_pool_may_do_what_his_group_may_for_his_tenant(
    deployment: Deployment, users: Users
) -> None:
    users.make("grace", tenant="rival", group="member")
    users.make("vera", tenant="rival", group="viewer")
    member, viewer = (users.sign_in(name)["IdToken"] for name in ("grace", "vera"))
    body = {"jobName": "hers", "image": "python:3.11", "command": ["true"]}
    assert deployment.call("POST", "/api/jobs/create", body, viewer).status_code == 403
    assert deployment.call("POST", "/api/jobs/create", body, member).status_code == 200
    listed = deployment.call("GET", JOBS, token=viewer).json()["data"]["items"]
    assert [job["name"] for job in listed] == ["hers"]


@pytest.mark.parametrize(
    ("name", "tenant", "group", "kind", "why"),
    [
        ("nomad", "", "member", "IdToken", "no claim 'custom:tenant'"),
        ("loner", TENANT, "", "IdToken", "no claim 'cognito:groups'"),
        ("eve", TENANT, "admin", "AccessToken", '"aud" claim'),
    ],
    ids=["without a tenant", "in no group", "with an access token"],
)
def test_who_is_in_the_user_pool_is_refused(
    deployment: Deployment, users: Users, name: str, tenant: str, group: str, kind: str, why: str
) -> None:
    users.make(name, tenant=tenant, group=group)
    assert deployment.call("GET", JOBS, token=users.sign_in(name)[kind]).status_code == 401
    assert why in deployment.logged("Authorizer"), "the reason is logged"


def test_the_end_of_the_stack_keeps_table_bucket_and_users(deployment: Deployment, users: Users) -> None:
    """The last one: it removes the stack."""
    users.make("last", tenant=TENANT, group="member")
    outputs = deployment.outputs()
    said = deployment.run("down")
    kept = {
        "JobsTable": "JobsTableName",
        "SubmissionsBucket": "SubmissionsBucketName",
        "UserPool": "UserPoolId",
        "UserPoolClient": "UserPoolClientId",
    }
    told = [f"{name}: {outputs[output]}" for name, output in kept.items()]
    assert [line for line in told if line not in said] == [], said
    stacks = deployment.client("cloudformation").describe_stacks()["Stacks"]
    assert not [stack for stack in stacks if stack["StackStatus"] != "DELETE_COMPLETE"]
    table, bucket, pool = (outputs[kept[name]] for name in ("JobsTable", "SubmissionsBucket", "UserPool"))
    jobs = deployment.client("dynamodb").scan(TableName=table)["Items"]
    assert [job for job in jobs if job["sk"] == {"S": "JOB"}]
    listed = deployment.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    assert f"submissions/{TENANT}/job.status.json" in [each["Key"] for each in listed]
    groups = deployment.client("cognito-idp").admin_list_groups_for_user(UserPoolId=pool, Username="last")
    assert [group["GroupName"] for group in groups["Groups"]] == ["member"]


def subscribe(deployment: Deployment) -> Any:
    """Listen to all that is told on the bus from now on: a call gives what came since the last one."""
    events, sqs = deployment.client("events"), deployment.client("sqs")
    queue = sqs.create_queue(QueueName="changes")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    pattern = json.dumps({"source": ["trainyard"]})
    events.put_rule(Name="all", EventBusName=STATE_CHANGE_BUS, EventPattern=pattern)
    target = {"Id": "queue", "Arn": attributes["QueueArn"]}
    events.put_targets(Rule="all", EventBusName=STATE_CHANGE_BUS, Targets=[target])

    def told() -> list[Any]:
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        for message in found:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"])["detail"] for message in found]

    return told
