"""What `make package` makes: whole, small, compiled, and the same each time."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from infra.local import config, tokens
from infra.packaging import stages
from infra.packaging.measure import MINIMAL
from infra.packaging.package import MAX_ZIPPED_DIRECT, Package, build, handlers, report
from infra.packaging.trim import SERVICES
from tests.functional.kubernetes.clusters import EmbeddedCluster


def test_what_ships_is_small_and_each_functions_start_was_measured(built: Package) -> None:
    assert built.zipped < MAX_ZIPPED_DIRECT
    assert {start.function for start in built.cold_starts} == {MINIMAL, *handlers(built.template)}
    said = report(built)
    assert built.sha256 in said and "of 250" in said and "of 50" in said


def test_the_same_files_make_the_same_package(built: Package, tmp_path: Path) -> None:
    again = build(stages.read("dev"), tmp_path / "again", measured=False)
    assert again.sha256 == built.sha256
    assert again.template.read_text() == built.template.read_text()


def test_what_ships_is_compiled_and_never_looks_at_its_sources(built: Package) -> None:
    archive = zipfile.ZipFile(built.zip)
    minor = f"cpython-{sys.version_info.major}{sys.version_info.minor}"
    compiled = archive.read(f"chalicelib/__pycache__/bootstrap.{minor}.pyc")
    assert compiled[4:8] == b"\x01\x00\x00\x00", "PEP 552: a hash, unchecked"
    assert b"/var/task/chalicelib/bootstrap.py" in compiled
    assert "chalicelib/unpack.py" in archive.namelist(), "its text goes into manifests"


def test_what_never_loads_does_not_ship(built: Package) -> None:
    names = zipfile.ZipFile(built.zip).namelist()
    folders = {name.split("/")[0].lower() for name in names}
    assert not folders & {"aiohttp", "pip", "setuptools", "click", "tests"}
    assert not [name for name in names if name.startswith(("kubernetes/aio/", "botocore/data/ec2/"))]
    assert {"METADATA"} == {name.split("/")[-1] for name in names if ".dist-info/" in name}


def test_out_of_the_package_alone_a_token_is_checked_and_a_job_is_handed_over(
    built: Package, tmp_path: Path
) -> None:
    local = config.load({"TRAINYARD_HOME": str(tmp_path)})
    token = tokens.token(local, "acme", ["member"])
    zipfile.ZipFile(built.zip).extractall(tmp_path / "task")
    cluster = EmbeddedCluster(tmp_path)
    cluster.start()
    try:
        told = {
            "KUBECONFIG": str(cluster.state / "kubeconfig"),
            "TRAINYARD_JWKS_URL": local.jwks_file.as_uri(),
            "TRAINYARD_JWT_ISSUER": config.ISSUER,
        }
        command = [sys.executable, "-I", "-S", "-B", "-c", ALONE, str(tmp_path / "task"), token]
        done = subprocess.run(command, env=told, capture_output=True, text=True, check=False)
    finally:
        cluster.end()
    assert done.stdout.split() == ["acme", "None", "job-1", "None"], done.stderr


def test_out_of_the_package_alone_a_client_is_made_of_every_service_that_ships(
    built: Package, tmp_path: Path
) -> None:
    zipfile.ZipFile(built.zip).extractall(tmp_path)
    command = [sys.executable, "-I", "-S", "-B", "-c", CLIENTS, str(tmp_path), *sorted(SERVICES)]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert done.stdout.split() == sorted(SERVICES), done.stderr


CLIENTS = """
import sys
sys.path.insert(0, sys.argv[1])
import botocore.session
for service in sys.argv[2:]:
    made = botocore.session.get_session().create_client(service, region_name="us-east-1")
    print(service if made.meta.service_model.operation_names else "has no operations")
"""
# Nothing but the package and the standard library is in reach: -I and -S.
ALONE = """
import sys
sys.path.insert(0, sys.argv[1])
from chalicelib.domain import labels
from chalicelib.bootstrap import container
made = container()
print(made.tokens.verify(sys.argv[2]).tenant)
pool = next(iter(made.settings.pools.values()))
cluster = made.clusters(pool)
print(cluster.workload("default", "job-1"))
own = {labels.INSTANCE: "trainyard", labels.JOB: "job-1"}
pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x", "command": ["true"]}]}
job = {"apiVersion": "batch/v1", "kind": "Job",
       "metadata": {"namespace": "default", "name": "job-1", "labels": own},
       "spec": {"template": {"metadata": {"labels": own}, "spec": pod}}}
cluster.submit([job])
print(cluster.workload("default", "job-1").job_id)
cluster.delete("default", "job-1")
print(cluster.pod("default", "job-1", "none"))
"""
