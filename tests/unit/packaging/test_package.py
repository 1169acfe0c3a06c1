"""What packaging refuses, and what it keeps for the code that needs it."""

from __future__ import annotations

import fcntl
import json
import re
from pathlib import Path

import cfnlint.data.AdditionalSpecs
import chalice
import pytest

from infra.local.config import REPO
from infra.packaging import deploy, measure, package, stages, trim
from infra.packaging.deploy import Aws, DeployFailed
from infra.packaging.measure import NotWhole
from infra.packaging.package import CannotPackage


@pytest.mark.parametrize("version", [(3, 10), (3, 15), (4, 0)])
def test_a_python_that_lambda_or_trainyard_does_not_run_on_is_refused(version: tuple[int, int]) -> None:
    with pytest.raises(CannotPackage, match=r"this is Python .*Lambda's runtimes are 3\.11"):
        package.check_runtime(version)


def test_who_builds_keeps_others_waiting(tmp_path: Path) -> None:
    with package.alone(tmp_path), (tmp_path / ".lock").open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (tmp_path / ".lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_runtimes_are_those_that_lambda_has() -> None:
    file = Path(cfnlint.data.AdditionalSpecs.__file__).with_name("LmbdRuntimeLifecycle.json")
    known = json.loads(file.read_text())
    assert {f"python{minor}" for minor in package.RUNTIMES} <= set(known)


def test_every_service_that_the_code_makes_a_client_of_ships() -> None:
    asked = re.compile(r"""(?:client|connect)[(,]\s*(?:self\.aws_session,\s*)?["']([a-z0-9-]+)["']""")
    files = (REPO / "chalicelib").rglob("*.py")
    wanted = {service for file in files for service in asked.findall(file.read_text())}
    assert {"dynamodb", "eks", "events", "lambda", "logs", "s3", "secretsmanager", "sts"} <= wanted
    assert wanted <= trim.SERVICES


def test_without_the_aws_cli_it_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DeployFailed, match="the AWS CLI is missing: https://"):
        Aws({"PATH": str(tmp_path)})


def test_a_bad_parameter_stops_a_deploy_before_anything_is_asked_of_aws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, called = tmp_path / "stage.json", tmp_path / "called"
    file.write_text(json.dumps({"parameters": {"JwksUrl": "https://x/jwks", "JwtIssuer": "x", "Pool": {}}}))
    (tmp_path / "aws").write_text(f"#!/bin/sh\ntouch {called}\n")
    (tmp_path / "aws").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert deploy.main(["up", "--stage", "test", "--stage-file", str(file)]) == 1
    assert "stage.json: Pool: unknown" in capsys.readouterr().err
    assert not called.exists()


def test_a_deploy_that_fails_says_why_in_cloudformations_words(tmp_path: Path) -> None:
    events = {
        "StackEvents": [
            {
                "LogicalResourceId": "JobsTable",
                "ResourceStatus": "CREATE_FAILED",
                "ResourceStatusReason": "taken",
            },
            {"LogicalResourceId": "UploadsQueue", "ResourceStatus": "CREATE_COMPLETE"},
        ]
    }
    (tmp_path / "events").write_text(json.dumps(events))
    says = f'case "$*" in *events*) exec /bin/cat {tmp_path}/events;; *) echo went wrong >&2; exit 255;; esac'
    (tmp_path / "aws").write_text(f"#!/bin/sh\n{says}\n")
    (tmp_path / "aws").chmod(0o755)
    with pytest.raises(DeployFailed) as caught:
        deploy.bring_about(Aws({"PATH": str(tmp_path)}), stages.read("dev"), {}, ())
    assert str(caught.value).splitlines() == [
        "aws cloudformation deploy: went wrong",
        "  JobsTable: taken",
    ]


def test_a_package_that_lacks_what_a_function_imports_is_not_whole(tmp_path: Path) -> None:
    (tmp_path / "chalice").symlink_to(Path(chalice.__file__).parent, target_is_directory=True)
    (tmp_path / "chalicelib").symlink_to(REPO / "chalicelib", target_is_directory=True)
    handlers = {"Recount": "chalicelib.triggers.maintenance.recount"}
    with pytest.raises(NotWhole, match=r"Recount does not start out of the package alone:(.|\n)*botocore"):
        measure.cold_starts(tmp_path, handlers)
