"""What `make deploy` deploys, on a MiniStack of its own beside an embedded Kubernetes: every step of a job's
way runs in a deployed Lambda function, unpacked from the packaged zip.

AUTH holds every function to its role; in the cluster each is a member of its own group. What differs from
AWS, beyond what MiniStack is: functions are told a KUBECONFIG and do not sign in to EKS; the JWKS is a file
(a user pool's too: its issuer is an address of AWS', which MiniStack only writes into its tokens);
it speaks plain HTTP, so that the bucket's TLS-only policy, which would deny all, is taken away; and in an
event source's pattern it takes "does not exist" for never true where what is above it is missing too
(`let_missing_through`).
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from chalicelib.cluster.api import KubernetesApi
from infra.local import cluster_setup, config, ministack, tokens
from infra.local.config import REPO, Local
from tests.e2e.conftest import wait_for
from tests.fake_daemon import FakeDaemon
from tests.functional.kubernetes.clusters import EmbeddedCluster
from tests.stack import OURS, free_ports, start_ministack, stop_ministack

STAGE = "test"
TENANT = "packaged"
NAMESPACE = f"trainyard-{TENANT}"
PASSWORD = "correct-Horse-1-battery"
ORIGIN = "https://app.example"
PARAMETERS = {"JwtIssuer": config.ISSUER, "LogRetentionDays": 7, "CorsOrigin": ORIGIN}


@dataclass
class Deployment:
    """A stage that is deployed to MiniStack, and a member of one tenant who uses it."""

    local: Local
    folder: Path
    daemon: FakeDaemon
    traced: list[Any] = field(default_factory=list)

    def run(self, act: str, **parameters: Any) -> str:
        """What the target `make deploy` or `make destroy` prints."""
        file = self.folder / "stage.json"
        wanted = {"JwksUrl": self.local.jwks_file.as_uri(), **PARAMETERS, **parameters}
        file.write_text(json.dumps({"parameters": wanted}))
        clean = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "infra.packaging.deploy",
                act,
                "--stage",
                STAGE,
                "--stage-file",
                str(file),
            ],
            cwd=REPO,
            env=config.aws_environment(self.local, clean),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def client(self, service: str) -> Any:
        return ministack.client(self.local, service)

    def outputs(self) -> dict[str, str]:
        (stack,) = self.client("cloudformation").describe_stacks(StackName=f"trainyard-{STAGE}")["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def call(self, method: str, path: str, body: Any = None, token: str | None = None) -> requests.Response:
        """Through API Gateway, which MiniStack has under a path of its own."""
        if token is None:
            token = tokens.token(self.local, TENANT, ["member"])
        return requests.request(
            method,
            f"{self.local.aws_url}/_aws/execute-api/{self.outputs()['RestAPIId']}/api{path}",
            json=body,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=60,
        )

    def create(self, *command: str) -> str:
        body = {"jobName": "packaged", "image": "python:3.11", "command": command}
        answer = self.call("POST", "/api/jobs/create", body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["data"]["jobId"])

    def detail(self, job_id: str) -> Any:
        return self.call("GET", f"/api/v1/training/jobs/{job_id}").json()["data"]

    def until(self, job_id: str, condition: Callable[[Any], bool]) -> Any:
        return wait_for(lambda: self.detail(job_id), condition)

    def segment(self, job_id: str) -> Any:
        """The first that the outbox tells X-Ray of for the job."""

        def told() -> list[Any]:
            self.traced.extend(self.daemon.received())
            return [one for one in self.traced if one["annotations"]["job_id"] == job_id]

        return wait_for(told, bool)[0]

    def item(self, job_id: str) -> Any:
        """The record, as the table has it."""
        key = {"pk": {"S": f"JOB#{job_id}"}, "sk": {"S": "JOB"}}
        table = self.outputs()["JobsTableName"]
        return self.client("dynamodb").get_item(TableName=table, Key=key)["Item"]

    def api_deployment(self) -> str:
        (stage,) = self.client("apigateway").get_stages(restApiId=self.outputs()["RestAPIId"])["item"]
        return str(stage["deploymentId"])

    def functions(self) -> dict[str, str]:
        """The functions' names by their logical ones."""
        stack = {"StackName": f"trainyard-{STAGE}"}
        resources = self.client("cloudformation").describe_stack_resources(**stack)["StackResources"]
        return {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for each in resources
            if each["ResourceType"] == "AWS::Lambda::Function"
        }

    def variables(self, function: str) -> dict[str, str]:
        """What a function is told."""
        name = self.functions()[function]
        known = self.client("lambda").get_function_configuration(FunctionName=name)
        variables: dict[str, str] = known["Environment"]["Variables"]
        return variables

    def logged(self, function: str) -> str:
        """All that a function has logged."""
        group = f"/aws/lambda/trainyard-{STAGE}-{function}"
        pages = self.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
        return "\n".join(event["message"] for page in pages for event in page["events"])

    def invoked(self) -> set[str]:
        """The functions, by logical name, that have run: each has written to its log then."""
        logs, prefix = self.client("logs"), f"/aws/lambda/trainyard-{STAGE}-"
        groups = logs.describe_log_groups(logGroupNamePrefix=prefix)["logGroups"]
        names = [group["logGroupName"] for group in groups]
        written = [name for name in names if logs.describe_log_streams(logGroupName=name)["logStreams"]]
        return {name.removeprefix(prefix) for name in written}


@pytest.fixture(scope="package")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    if shutil.which("aws") is None:
        pytest.skip("the AWS CLI is missing")
    folder = tmp_path_factory.mktemp("packaged")
    users = [f"--user={user}={user}" for user in (config.SERVICE_USER, config.READER_USER)]
    cluster = EmbeddedCluster(folder / "kubernetes", *users)
    names = ("PORT", "AWS_PORT", "KUBERNETES_PORT", "TERMINAL_PORT")
    settings = {f"TRAINYARD_{name}": str(port) for name, port in zip(names, free_ports(4), strict=True)}
    settings |= {k: v for k, v in os.environ.items() if k == "TRAINYARD_MINISTACK_PYTHON"}
    local = config.load(settings | {"TRAINYARD_HOME": str(folder)})
    tokens.ensure_keys(local)
    cluster.start()
    try:
        set_up(cluster)
        kubeconfig = str(cluster.state / f"kubeconfig-{config.SERVICE_USER}")
        daemon = FakeDaemon()
        lent = {"PYTHONPATH": lend_cryptography(folder), "AWS_XRAY_DAEMON_ADDRESS": daemon.address}
        start_ministack(local, KUBECONFIG=kubeconfig, AUTH="true", **lent)
        try:
            deployed = Deployment(local, folder, daemon)
            deployed.run("up")
            let_missing_through(deployed.client("lambda"))
            reader = str(cluster.state / f"kubeconfig-{config.READER_USER}")
            give(deployed, "APIHandler", KUBECONFIG=reader)
            deployed.client("s3").delete_bucket_policy(Bucket=deployed.outputs()["SubmissionsBucketName"])
            yield deployed
        finally:
            stop_ministack(local)
            daemon.close()
    finally:
        cluster.end()


@dataclass
class Users:
    """A stage's user pool, in the hands of an admin as docs/deploying.md has it."""

    deployment: Deployment
    before: dict[str, str]  # the stack's outputs before it had a pool
    deployed_before: str  # the API's deployment then

    def make(self, name: str, *, tenant: str = "", group: str = "") -> None:
        pool = self.deployment.outputs()["UserPoolId"]
        user, cognito = {"UserPoolId": pool, "Username": name}, self.deployment.client("cognito-idp")
        attributes = [{"Name": "custom:tenant", "Value": tenant}] if tenant else []
        cognito.admin_create_user(**user, UserAttributes=attributes, MessageAction="SUPPRESS")
        cognito.admin_set_user_password(**user, Password=PASSWORD, Permanent=True)
        if group:
            cognito.admin_add_user_to_group(**user, GroupName=group)

    def sign_in(self, name: str) -> dict[str, str]:
        """The tokens that Cognito gives: IdToken, AccessToken, …"""
        tokens: dict[str, str] = self.deployment.client("cognito-idp").initiate_auth(
            ClientId=self.deployment.outputs()["UserPoolClientId"],
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": name, "PASSWORD": PASSWORD},
        )["AuthenticationResult"]
        return tokens


@pytest.fixture(scope="package")
def users(deployment: Deployment) -> Users:
    """The same stage deployed again, from now on with a user pool and no other issuer."""
    before, deployed = deployment.outputs(), deployment.api_deployment()
    deployment.run("up", LogRetentionDays=14, SignIn="user-pool", JwksUrl=None, JwtIssuer=None)
    keys = f"{deployment.outputs()['UserPoolId']}/.well-known/jwks.json"
    variables = deployment.variables("Authorizer")
    assert variables["TRAINYARD_JWKS_URL"] == f"https://cognito-idp.{config.REGION}.amazonaws.com/{keys}"
    file = deployment.folder / "pool-jwks.json"
    file.write_bytes(requests.get(f"{deployment.local.aws_url}/{keys}", timeout=60).content)
    give(deployment, "Authorizer", TRAINYARD_JWKS_URL=file.as_uri())
    return Users(deployment, before, deployed)


def lend_cryptography(folder: Path) -> str:
    """A folder with this venv's own: without it MiniStack's user pools sign their tokens with noise. In its
    venv it would cost every stack 10 MB."""
    lent = folder / "lent"
    lent.mkdir()
    for name in ("cryptography", "cffi", "_cffi_backend"):
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        origin = Path(spec.origin)
        found = origin.parent if origin.name == "__init__.py" else origin
        (lent / found.name).symlink_to(found)
    return str(lent)


def set_up(cluster: EmbeddedCluster) -> None:
    """What an admin does once: docs/deploying.md."""
    api = KubernetesApi.from_kubeconfig(str(cluster.state / "kubeconfig"), None, 10)
    cluster_setup.grant_role(lambda: api)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    api.create("/api/v1/namespaces", namespace)
    for body in yaml.safe_load_all(cluster_setup.PRIORITY_CLASSES.read_text()):
        api.create("/apis/scheduling.k8s.io/v1/priorityclasses", body)


def give(deployed: Deployment, function: str, **variables: str) -> None:
    """Add to what a function is told."""
    deployed.client("lambda").update_function_configuration(
        FunctionName=deployed.functions()[function],
        Environment={"Variables": {**deployed.variables(function), **variables}},
    )


def let_missing_through(functions: Any) -> None:
    """Hand the outbox every pending record: MiniStack's matcher never finds `submitted_at.S` missing."""
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        patterns = [
            json.loads(each["Pattern"]) for each in mapping.get("FilterCriteria", {}).get("Filters", [])
        ]
        missing = {"S": [{"exists": False}]}
        images = [pattern.get("dynamodb", {}).get("NewImage", {}) for pattern in patterns]
        if not any(missing in image.values() for image in images):
            continue
        for image in images:
            for name in [name for name, wanted in image.items() if wanted == missing]:
                del image[name]
        functions.update_event_source_mapping(
            UUID=mapping["UUID"],
            FilterCriteria={"Filters": [{"Pattern": json.dumps(pattern)} for pattern in patterns]},
        )
