"""`make package` writes a template that CloudFormation understands; its functions may do what they do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from chalicelib.services.sync import LAST_SECONDS
from infra.local import filters
from infra.packaging.package import Package
from tests.functional.test_rules import holds

REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def package(built: Package) -> Path:
    return built.template.parent


@pytest.fixture(scope="module")
def resources(package: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((package / "sam.yaml").read_text())["Resources"]
    return found


def actions(resources: Mapping[str, Any], role: str) -> set[str]:
    statements = [
        statement
        for policy in resources[role]["Properties"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    found: set[str] = set()
    for statement in statements:
        action = statement["Action"]
        found |= {action} if isinstance(action, str) else set(action)
    return {action for action in found if not action.startswith("logs:")}


def lint(template: Path) -> None:
    tool = Path(sys.executable).with_name("cfn-lint")
    found = subprocess.run([tool, template], capture_output=True, text=True, check=False, timeout=120)
    assert found.returncode == 0, found.stdout


def test_cloudformation_understands_the_template(package: Path) -> None:
    lint(package / "sam.yaml")


def test_cloudformation_understands_the_sample_rule_for_state_changes() -> None:
    lint(REPO / "docs" / "events" / "slack-rule.yaml")


def test_the_sync_function_is_started_once_a_minute_and_lives_until_its_successor_leads(
    resources: Mapping[str, Any],
) -> None:
    sync = resources["Sync"]["Properties"]
    (rule,) = sync["Events"].values()
    assert rule["Properties"]["Schedule"] == "rate(1 minute)"
    assert sync["Timeout"] - LAST_SECONDS > 60


def test_what_ships_is_the_app_and_nothing_of_the_embedded_stack(package: Path) -> None:
    names = zipfile.ZipFile(package / "deployment.zip").namelist()
    assert {"app.py", "chalicelib/bootstrap.py"} <= set(names)
    assert any(name.startswith("kubernetes/") for name in names)
    assert not [
        name for name in names if name.startswith(("infra/", "tests/", "moto/", "boto3/", "sklearn/"))
    ]


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("AuthorizerRole", set()),
        ("ApiHandlerRole", {"GetItem", "BatchGetItem", "PutItem", "UpdateItem", "Query"}),
    ],
)
def test_a_role_allows_the_table_calls_that_its_function_makes_and_no_more(
    resources: Mapping[str, Any], role: str, allowed: set[str]
) -> None:
    assert actions(resources, role) == {f"dynamodb:{name}" for name in allowed}


def test_who_tells_of_state_changes_reads_the_stream_and_who_tells_of_anything_may_tell_one_bus(
    resources: Mapping[str, Any],
) -> None:
    assert actions(resources, "StateChangesRole") == {
        *(f"dynamodb:{name}" for name in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")),
        "sqs:SendMessage",
        "events:PutEvents",
    }
    told = {
        (role, str(statement["Resource"]))
        for role, body in resources.items()
        if body["Type"] == "AWS::IAM::Role"
        for policy in body["Properties"].get("Policies", [])
        for statement in policy["PolicyDocument"]["Statement"]
        if "events:PutEvents" in statement["Action"]
    }
    bus = str({"Fn::GetAtt": ["StateChangeBus", "Arn"]})
    assert told == {("StateChangesRole", bus), ("SyncRole", bus)}
    for name in ("StateChanges", "Sync"):
        variables = resources[name]["Properties"]["Environment"]["Variables"]
        assert variables["TRAINYARD_STATE_CHANGE_BUS"] == {"Ref": "StateChangeBus"}
    source = resources["StateChanges"]["Properties"]["Events"]["StateChangesDynamodbEventSource"][
        "Properties"
    ]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert "MaximumRetryAttempts" not in source, "a change is tried for as long as the stream has it"


def allowed(resources: Mapping[str, Any], role: str) -> set[tuple[str, str]]:
    """What a role may do, each with what it may do it to."""
    return {
        (action, json.dumps(statement["Resource"]))
        for policy in resources[role]["Properties"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
        if not action.startswith("logs:")
    }


def on(resource: Any, *actions: str) -> set[tuple[str, str]]:
    return {(action, json.dumps(resource)) for action in actions}


def arn(name: str) -> Any:
    return {"Fn::GetAtt": [name, "Arn"]}


BUCKET = arn("SubmissionsBucket")
FILES = {"Fn::Sub": "${SubmissionsBucket.Arn}/submissions/*"}
READS_QUEUE = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")


def test_who_takes_uploads_reads_files_and_starts_jobs_and_does_no_more(resources: Mapping[str, Any]) -> None:
    table = [f"dynamodb:{name}" for name in ("GetItem", "BatchGetItem", "PutItem", "UpdateItem")]
    assert allowed(resources, "UploadsRole") == {
        *on(arn("UploadsQueue"), *READS_QUEUE),
        *on(FILES, "s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"),
        *on(BUCKET, "s3:ListBucket"),
        *on(arn("JobsTable"), *table),
    }


def test_who_keeps_status_files_changes_no_job(resources: Mapping[str, Any]) -> None:
    assert allowed(resources, "UploadStatusRole") == {
        *on(arn("UploadChangesQueue"), *READS_QUEUE),
        *on(FILES, "s3:GetObject", "s3:PutObject"),
        *on(BUCKET, "s3:ListBucket"),
        *on(arn("JobsTable"), "dynamodb:GetItem", "dynamodb:BatchGetItem"),
    }


QUEUES = [
    ("UploadsQueue", "Uploads", "UploadsRule"),
    ("UploadChangesQueue", "UploadStatus", "UploadChangesRule"),
]


@pytest.mark.parametrize(("queue", "function", "rule"), QUEUES, ids=[queue for queue, _, _ in QUEUES])
def test_what_fails_comes_again_later_and_ends_among_the_dead_letters(
    package: Path, resources: Mapping[str, Any], queue: str, function: str, rule: str
) -> None:
    retry = yaml.safe_load((package / "sam.yaml").read_text())["Parameters"]["QueueRetrySeconds"]
    letters = arn(queue.replace("Queue", "DeadLetters"))
    properties = resources[queue]["Properties"]
    assert properties["RedrivePolicy"] == {"deadLetterTargetArn": letters, "maxReceiveCount": 10}
    assert properties["VisibilityTimeout"] == {"Ref": "QueueRetrySeconds"}
    assert retry["Default"] > resources[function]["Properties"]["Timeout"]
    (target,) = resources[rule]["Properties"]["Targets"]
    assert (target["Arn"], target["DeadLetterConfig"]) == (arn(queue), {"Arn": letters})
    ((_, source),) = resources[function]["Properties"]["Events"].items()
    assert source["Properties"]["Queue"] == arn(queue)
    policy = resources["QueuesPolicy"]["Properties"]
    assert {"Ref": queue} in policy["Queues"]
    statement, _ = policy["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert arn(rule) in statement["Condition"]["ArnEquals"]["aws:SourceArn"]


@pytest.mark.parametrize(
    ("key", "is_told"),
    [
        ("submissions/acme/job.json", True),
        ("submissions/acme/a/b c/job.yaml", True),
        ("submissions/acme/job.yml", True),
        ("submissions/acme/status.json", True),
        ("submissions/acme/job.status.yaml", True),
        ("submissions/acme/job.status.json", False),
        ("submissions/acme/code.zip", False),
        ("submissions/job.json", False),
        ("other/acme/job.json", False),
    ],
)
def test_job_files_are_told_of_and_status_files_are_not(
    resources: Mapping[str, Any], key: str, is_told: bool
) -> None:
    wanted = resources["UploadsRule"]["Properties"]["EventPattern"]
    assert {name: wanted[name] for name in ("source", "detail-type")} == {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
    }
    assert wanted["detail"]["bucket"] == {"name": [{"Ref": "SubmissionsBucket"}]}
    passes_rule = any(fnmatchcase(key, rule["wildcard"]) for rule in wanted["detail"]["object"]["key"])
    source = resources["Uploads"]["Properties"]["Events"]["UploadsSqsEventSource"]["Properties"]
    patterns = filters.parse(source["FilterCriteria"])
    body = {"detail": {"object": {"key": key}}}
    assert (passes_rule and filters.passes({"body": body}, patterns)) is is_told


@pytest.mark.parametrize(
    ("source", "is_told"), [("s3://bucket/key", True), (None, False)], ids=["from a file", "from the API"]
)
def test_only_jobs_that_came_as_files_are_told_of_for_status_files(
    resources: Mapping[str, Any], source: str | None, is_told: bool
) -> None:
    pattern = resources["UploadChangesRule"]["Properties"]["EventPattern"]
    event = {"source": "trainyard", "detail-type": "Training Job State Change", "detail": {"source": source}}
    assert filters.matches(pattern, event) is is_told


def test_status_files_are_told_again_of_just_what_failed(resources: Mapping[str, Any]) -> None:
    source = resources["UploadStatus"]["Properties"]["Events"]["UploadStatusSqsEventSource"]["Properties"]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["MaximumBatchingWindowInSeconds"] > 0, "SQS wants it for batches of more than ten"


def test_the_bucket_keeps_versions_and_lets_nobody_else_in(resources: Mapping[str, Any]) -> None:
    bucket = resources["SubmissionsBucket"]["Properties"]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["NotificationConfiguration"] == {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert resources["SubmissionsBucket"]["DeletionPolicy"] == "RetainExceptOnCreate"


def test_every_queue_takes_tls_only(resources: Mapping[str, Any]) -> None:
    queues = [name for name, body in resources.items() if body["Type"] == "AWS::SQS::Queue"]
    policy = resources["QueuesPolicy"]["Properties"]
    _, denied = policy["PolicyDocument"]["Statement"]
    assert sorted(queue["Ref"] for queue in policy["Queues"]) == sorted(queues)
    assert sorted(denied["Resource"], key=str) == sorted(map(arn, queues), key=str)
    assert (denied["Effect"], denied["Principal"], denied["Action"]) == ("Deny", "*", "sqs:*")
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_api_is_throttled_and_logs_who_called_it_and_no_token(resources: Mapping[str, Any]) -> None:
    api = resources["RestAPI"]["Properties"]
    (every,) = api["MethodSettings"]
    assert (every["HttpMethod"], every["ResourcePath"]) == ("*", "/*")
    assert every["ThrottlingRateLimit"] == {"Ref": "ApiRequestsPerSecond"}
    assert every["ThrottlingBurstLimit"] == {"Ref": "ApiBurst"}
    condition, logged, _ = api["AccessLogSetting"]["Fn::If"]
    assert condition == "ApiAccessIsLogged"
    line = json.loads(logged["Format"])
    assert {"requestId", "ip", "path", "status", "caller"} <= set(line)
    assert "authorization" not in logged["Format"].lower()


def test_whatever_the_gateway_answers_itself_a_page_of_the_origin_may_read(
    resources: Mapping[str, Any],
) -> None:
    api = resources["RestAPI"]["Properties"]
    origin = only_if("CorsIsOn", {"Fn::Sub": "'${CorsOrigin}'"})
    answers = {"preflight": api["Cors"]["AllowOrigin"]} | {
        kind: answer["ResponseParameters"]["Headers"]["Access-Control-Allow-Origin"]
        for kind, answer in api["GatewayResponses"].items()
    }
    assert {"DEFAULT_4XX", "DEFAULT_5XX"} < answers.keys(), "what no other covers"
    assert answers == dict.fromkeys(answers, origin)
    assert api["AlwaysDeploy"] is True, "SAM would not see that the parameter has changed"
    told = resources["APIHandler"]["Properties"]["Environment"]["Variables"]
    assert told["TRAINYARD_CORS_ORIGIN"] == {"Ref": "CorsOrigin"}


ARN = "arn:aws:eks:eu-west-1:111111111111:cluster"
TALK_TO_KUBERNETES = {"APIHandler": "ApiHandlerRole", "Outbox": "OutboxRole", "Sync": "SyncRole"}


def listed(parameter: str) -> Mapping[str, Any]:
    return {"Fn::Split": [",", {"Ref": parameter}]}


def only_if(condition: str, value: Any) -> Mapping[str, Any]:
    return {"Fn::If": [condition, value, {"Ref": "AWS::NoValue"}]}


TRACES = only_if("RequestsAreTraced", {"Ref": "TracesPolicy"})


def lent_to(resources: Mapping[str, Any]) -> Mapping[str, Sequence[Any]]:
    """The policies of each role that it shares with others."""
    return {
        name: body["Properties"].get("ManagedPolicyArns", [])
        for name, body in resources.items()
        if body["Type"] == "AWS::IAM::Role"
    }


def test_who_talks_to_kubernetes_may_find_the_clusters_that_are_named_and_nobody_else_may(
    resources: Mapping[str, Any],
) -> None:
    lent = [
        only_if("EksClustersAreNamed", {"Ref": "EksClustersPolicy"}),
        only_if("EksRolesAreNamed", {"Ref": "EksRolesPolicy"}),
        only_if("FunctionsAreInAVpc", {"Ref": "VpcPolicy"}),
    ]
    held = {name: [one for one in policies if one != TRACES] for name, policies in lent_to(resources).items()}
    found = {name: policies for name, policies in held.items() if policies}
    secret = only_if("TerminalsAreSetUp", {"Ref": "TerminalSecretPolicy"})
    assert found == dict.fromkeys(TALK_TO_KUBERNETES.values(), lent) | {"ApiHandlerRole": [secret, *lent]}
    allowed = {
        name: [
            (statement["Action"], statement["Resource"])
            for statement in resources[name]["Properties"]["PolicyDocument"]["Statement"]
        ]
        for name in ("EksClustersPolicy", "EksRolesPolicy")
    }
    assert allowed == {
        "EksClustersPolicy": [("eks:DescribeCluster", listed("EksClusterArns"))],
        "EksRolesPolicy": [("sts:AssumeRole", listed("EksRoleArns"))],
    }


def test_who_talks_to_kubernetes_and_nobody_else_runs_in_the_subnets_if_there_are_any(
    resources: Mapping[str, Any],
) -> None:
    network = {"SubnetIds": listed("VpcSubnetIds"), "SecurityGroupIds": listed("VpcSecurityGroupIds")}
    found = {
        name: (body["Properties"]["VpcConfig"], body["Properties"]["Role"])
        for name, body in resources.items()
        if body["Type"] == "AWS::Serverless::Function" and "VpcConfig" in body["Properties"]
    }
    assert found == {
        name: (only_if("FunctionsAreInAVpc", network), {"Fn::GetAtt": [role, "Arn"]})
        for name, role in TALK_TO_KUBERNETES.items()
    }


@pytest.mark.parametrize(
    ("parameter", "right", "wrong"),
    [
        ("EksClusterArns", f"{ARN}/a,{ARN}/b-1", (f"{ARN}/a, {ARN}/b", f"{ARN}/*", "a", f"{ARN}/a,")),
        ("EksRoleArns", "arn:aws:iam::222222222222:role/x/y", ("arn:aws:iam::222222222222:role/*", "x")),
        ("VpcSubnetIds", "subnet-0a,subnet-0b", ("subnet-0a subnet-0b", "sg-0a", "subnet-0a,")),
        ("VpcSecurityGroupIds", "sg-0a,sg-0b", ("subnet-0a", "sg-0a, sg-0b")),
    ],
)
def test_a_list_that_cannot_be_one_fails_before_anything_is_made(
    package: Path, parameter: str, right: str, wrong: Sequence[str]
) -> None:
    pattern = yaml.safe_load((package / "sam.yaml").read_text())["Parameters"][parameter]["AllowedPattern"]
    assert [text for text in ("", right) if not re.fullmatch(pattern, text)] == []
    assert [text for text in wrong if re.fullmatch(pattern, text)] == []


def test_what_requests_pass_is_traced_by_a_parameter(package: Path, resources: Mapping[str, Any]) -> None:
    functions = {
        name: body["Properties"]
        for name, body in resources.items()
        if body["Type"] == "AWS::Serverless::Function"
    }
    traced = {"Fn::If": ["RequestsAreTraced", "Active", "PassThrough"]}
    lent = lent_to(resources)
    for name, properties in functions.items():
        passes = name in ("APIHandler", "Authorizer", "Outbox", "Uploads")
        assert properties["Tracing"] == (traced if passes else "PassThrough"), name
        assert (TRACES in lent[properties["Role"]["Fn::GetAtt"][0]]) == passes, name
    assert resources["RestAPI"]["Properties"]["TracingEnabled"] == {"Ref": "Tracing"}
    condition = yaml.safe_load((package / "sam.yaml").read_text())["Conditions"]["RequestsAreTraced"]
    assert [value for value in ("true", "false") if holds(condition, {"Tracing": value})] == ["true"]


def test_only_the_api_reads_what_jobs_printed_and_nobody_writes_it(resources: Mapping[str, Any]) -> None:
    group = {"Fn::GetAtt": ["JobsLogGroup", "Arn"]}
    found = [
        (role, sorted(statement["Action"]))
        for role, body in resources.items()
        if body["Type"] == "AWS::IAM::Role"
        for policy in body["Properties"].get("Policies", [])
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Resource"] == group
    ]
    assert found == [("ApiHandlerRole", ["logs:DescribeLogStreams", "logs:GetLogEvents"])]


def test_the_stream_hands_over_just_the_records_that_need_the_outbox(resources: Mapping[str, Any]) -> None:
    source = resources["Outbox"]["Properties"]["Events"]["OutboxDynamodbEventSource"]["Properties"]
    patterns = [
        json.loads(one["Pattern"])["dynamodb"]["NewImage"] for one in source["FilterCriteria"]["Filters"]
    ]
    assert all(pattern.pop("sk") == {"S": ["JOB"]} for pattern in patterns)
    assert patterns == [
        {"status": {"S": ["pending"]}, "submitted_at": {"S": [{"exists": False}]}},
        {"status": {"S": ["stopping"]}},
        {"deleted_at": {"S": [{"exists": True}]}},
    ]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_the_api_signs_tickets_with_a_generated_secret(resources: Mapping[str, Any]) -> None:
    told = resources["APIHandler"]["Properties"]["Environment"]["Variables"]
    assert told["TRAINYARD_TERMINAL_SECRET_ARN"] == {
        "Fn::If": ["TerminalsAreSetUp", {"Ref": "TerminalSecret"}, ""]
    }
    assert resources["TerminalSecret"]["Properties"]["GenerateSecretString"]["PasswordLength"] >= 32
    assert "TRAINYARD_TERMINAL_SECRET" not in json.dumps(resources["Outbox"])
    read = resources["ApiHandlerRole"]["Properties"]["ManagedPolicyArns"]
    assert only_if("TerminalsAreSetUp", {"Ref": "TerminalSecretPolicy"}) in read


def test_no_secret_is_resolved_into_the_template(package: Path) -> None:
    assert "{{resolve:" not in (package / "sam.yaml").read_text()


def test_every_function_is_told_its_table_and_its_issuer(package: Path) -> None:
    template = yaml.safe_load((package / "sam.yaml").read_text())
    told = template["Globals"]["Function"]["Environment"]["Variables"]
    names = ("JOBS_TABLE", "LOG_GROUP", "JWKS_URL", "POOLS", "CLUSTERS")
    assert {f"TRAINYARD_{name}" for name in names} <= set(told)
