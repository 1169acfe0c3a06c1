"""The Kubernetes objects of a job say what the job asked for, and no more."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import chalicelib.unpack
from chalicelib.domain.job import Resources
from chalicelib.domain.manifest import ManifestSettings, manifests
from chalicelib.domain.pools import Pool
from tests.builders import GIB, JOB_ID, NAMESPACE, POOL, job, spec

SETTINGS = ManifestSettings(instance="prod", finished_job_ttl_seconds=3600, stop_grace_seconds=30)


def objects(pool: Pool = POOL, **changes: Any) -> list[Any]:
    return list(manifests(job(spec=spec(**changes)), pool, SETTINGS))


def kubernetes_job(pool: Pool = POOL, **changes: Any) -> Any:
    return objects(pool, **changes)[0]


def pod_spec(pool: Pool = POOL, **changes: Any) -> Any:
    return kubernetes_job(pool, **changes)["spec"]["template"]["spec"]


def container(pool: Pool = POOL, **changes: Any) -> Any:
    (only,) = pod_spec(pool, **changes)["containers"]
    return only


def environment(**changes: Any) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container(**changes)["env"]}


def test_the_job_is_named_after_its_id_and_labelled_with_job_tenant_and_instance() -> None:
    metadata = kubernetes_job()["metadata"]
    assert (metadata["name"], metadata["namespace"]) == (JOB_ID, NAMESPACE)
    assert metadata["labels"] == {
        "app.kubernetes.io/managed-by": "trainyard",
        "trainyard.dev/instance": "prod",
        "trainyard.dev/job-id": JOB_ID,
        "trainyard.dev/tenant": "acme",
        "trainyard.dev/pool": "default",
    }
    assert metadata["annotations"] == {
        "trainyard.dev/job-name": "ResNet Training",
        "trainyard.dev/version": "1",
    }


def test_pods_carry_the_same_labels_as_their_job() -> None:
    made = kubernetes_job(labels={"team": "vision"})
    assert made["spec"]["template"]["metadata"]["labels"] == made["metadata"]["labels"]
    assert made["metadata"]["labels"]["team"] == "vision"


def test_a_callers_label_cannot_take_the_place_of_ours() -> None:
    made = kubernetes_job(labels={"trainyard.dev/tenant": "other"})
    assert made["metadata"]["labels"]["trainyard.dev/tenant"] == "acme"


def test_a_job_runs_once_and_is_retried_as_often_as_it_says() -> None:
    made = kubernetes_job(max_retries=3, max_runtime_seconds=60)["spec"]
    assert made["backoffLimit"] == 3
    assert made["activeDeadlineSeconds"] == 60
    assert made["ttlSecondsAfterFinished"] == 3600
    assert made["template"]["spec"]["restartPolicy"] == "Never"
    assert "activeDeadlineSeconds" not in kubernetes_job()["spec"]


def test_requests_equal_limits_with_memory_in_bytes_and_the_pools_gpu() -> None:
    amounts = {"cpu": "8", "memory": str(32 * GIB), "nvidia.com/gpu": "2"}
    assert container()["resources"] == {"requests": amounts, "limits": amounts}
    amd = Pool(id="amd", cluster="c", gpu_resource="amd.com/gpu")
    assert container(amd)["resources"]["limits"]["amd.com/gpu"] == "2"


def test_a_job_without_gpus_asks_for_none() -> None:
    asked = container(resources=Resources(cpu=1, memory=GIB, gpu=0))["resources"]["limits"]
    assert set(asked) == {"cpu", "memory"}


def test_workspace_and_dataset_are_mounted_and_the_dataset_only_to_read() -> None:
    made = pod_spec(workspace_id=456, dataset_id=789)
    volumes = {volume["name"]: volume for volume in made["volumes"]}
    mounts = {mount["name"]: mount for mount in made["containers"][0]["volumeMounts"]}
    assert volumes["workspace"]["persistentVolumeClaim"] == {"claimName": "workspace-456"}
    assert volumes["dataset"]["persistentVolumeClaim"] == {"claimName": "dataset-789", "readOnly": True}
    assert mounts["workspace"] == {"name": "workspace", "mountPath": "/workspace"}
    assert mounts["dataset"] == {"name": "dataset", "mountPath": "/dataset", "readOnly": True}


def test_shared_memory_is_half_of_the_jobs_memory() -> None:
    made = pod_spec()
    assert made["volumes"] == [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": str(16 * GIB)}}]
    assert made["containers"][0]["volumeMounts"] == [{"name": "shm", "mountPath": "/dev/shm"}]


def test_the_pod_has_no_token_and_no_privileges() -> None:
    made = pod_spec()
    assert made["automountServiceAccountToken"] is False
    assert made["securityContext"]["runAsNonRoot"] is True
    assert made["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert made["containers"][0]["securityContext"] == {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_pool_places_the_pod() -> None:
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    pool = Pool(id="a100", cluster="c", node_selector={"gpu": "a100"}, tolerations=[toleration])
    made = pod_spec(pool, priority=7)
    assert made["nodeSelector"] == {"gpu": "a100"}
    assert made["tolerations"] == [toleration]
    assert made["priorityClassName"] == "trainyard-7"


def test_a_pool_without_priority_classes_names_none() -> None:
    assert "priorityClassName" not in pod_spec(Pool(id="p", cluster="c", priority_classes=False))


def test_a_queued_job_waits_for_its_queue() -> None:
    made = kubernetes_job(Pool(id="p", cluster="c", queues=("research",)), queue="research")
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    assert made["spec"]["suspend"] is True
    assert "suspend" not in kubernetes_job()["spec"]


@pytest.mark.parametrize(
    ("written", "expanded_by_kubernetes_from"),
    [("echo $HOME", "echo $HOME"), ("$(rm -rf)", "$$(rm -rf)"), ("$$(X)", "$$$$(X)"), ("a$$b", "a$$$$b")],
)
def test_what_a_caller_wrote_is_not_expanded(written: str, expanded_by_kubernetes_from: str) -> None:
    assert container(command=("sh", "-c", written))["command"][2] == expanded_by_kubernetes_from
    assert environment(env={"X": written})["X"] == expanded_by_kubernetes_from


def test_the_container_knows_its_job() -> None:
    assert environment(env={"LR": "0.1"}) == {
        "LR": "0.1",
        "TRAINYARD_JOB_ID": JOB_ID,
        "TRAINYARD_TENANT": "acme",
        "TRAINYARD_NODES": "1",
        "TRAINYARD_GPUS_PER_NODE": "2",
    }


def test_several_nodes_are_one_indexed_job_that_meets_at_rank_0() -> None:
    made, service = objects(nodes=2)
    assert made["spec"]["completionMode"] == "Indexed"
    assert (made["spec"]["parallelism"], made["spec"]["completions"]) == (2, 2)
    assert made["spec"]["template"]["spec"]["subdomain"] == JOB_ID
    assert service["metadata"]["name"] == JOB_ID
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"trainyard.dev/job-id": JOB_ID}
    env = environment(nodes=2)
    assert env["MASTER_ADDR"] == env["PET_MASTER_ADDR"] == f"{JOB_ID}-0.{JOB_ID}"
    assert (env["PET_NNODES"], env["PET_NODE_RANK"]) == ("2", "$(NODE_RANK)")


def test_tensorflow_reads_its_cluster_and_its_rank() -> None:
    text = environment(nodes=2)["TF_CONFIG"].replace("$(NODE_RANK)", "1")  # as Kubernetes expands it
    assert json.loads(text) == {
        "cluster": {"worker": [f"{JOB_ID}-0.{JOB_ID}:29500", f"{JOB_ID}-1.{JOB_ID}:29500"]},
        "task": {"type": "worker", "index": 1},
    }


BUNDLE = "s3://bucket/submissions/acme/code.zip?versionId=v1"
PROGRAM = Path(chalicelib.unpack.__file__).read_text()
WITH_BUNDLES = replace(
    SETTINGS, bundle_image="python", bundle_env={"AWS_ENDPOINT_URL": "http://s3/$(X)"}, unpack=PROGRAM
)


def bundled(pool: Pool = POOL, settings: ManifestSettings = WITH_BUNDLES, **changes: Any) -> Any:
    """The spec of the pod of a job with a bundle."""
    made = manifests(job(spec=spec(bundle=BUNDLE, **changes)), pool, settings)[0]
    return made["spec"]["template"]["spec"]


def expanded(text: str) -> str:
    """As Kubernetes expands a word of a command: `$$` is `$`, and a `$(NAME)` that is left is replaced."""
    assert not re.search(r"(?<!\$)(\$\$)*\$\(", text), "there is a reference"
    return text.replace("$$", "$")


def test_a_job_without_a_bundle_has_one_container_and_no_workspace() -> None:
    made = pod_spec()
    assert "initContainers" not in made
    assert "workingDir" not in made["containers"][0]
    assert "workspace" not in {volume["name"] for volume in made["volumes"]}


def test_a_bundle_is_unpacked_to_the_workspace_where_the_training_begins() -> None:
    made = bundled()
    (unpacking,) = made["initContainers"]
    (training,) = made["containers"]
    mount = {"name": "workspace", "mountPath": "/workspace"}
    assert {"name": "workspace", "emptyDir": {}} in made["volumes"]
    assert unpacking["volumeMounts"] == [mount]
    assert mount in training["volumeMounts"]
    assert training["workingDir"] == "/workspace"
    assert (unpacking["name"], unpacking["image"]) == ("bundle", "python")
    assert training == container(workspace_id=1) | {"volumeMounts": training["volumeMounts"]}


@pytest.mark.parametrize(
    "program", [PROGRAM, "print('$(HOME) $$(HOME) $HOME $$ $')"], ids=["the program", "a tricky one"]
)
def test_kubernetes_hands_the_program_to_python_unchanged(program: str) -> None:
    (unpacking,) = bundled(settings=replace(WITH_BUNDLES, unpack=program))["initContainers"]
    *interpreter, text = unpacking["command"]
    assert (interpreter, expanded(text)) == (["python3", "-c"], program)


def test_the_program_is_small_beside_what_a_cluster_keeps_of_a_job() -> None:
    assert len(PROGRAM.encode()) < 16 * 1024


def test_the_unpacking_container_knows_what_to_fetch_and_how_to_reach_it() -> None:
    (unpacking,) = bundled()["initContainers"]
    assert {entry["name"]: entry["value"] for entry in unpacking["env"]} == {
        "AWS_ENDPOINT_URL": "http://s3/$$(X)",
        "TRAINYARD_BUNDLE": BUNDLE,
        "TRAINYARD_BUNDLE_TARGET": "/workspace",
    }


def test_settings_cannot_change_what_is_fetched() -> None:
    settings = replace(WITH_BUNDLES, bundle_env={"TRAINYARD_BUNDLE": "s3://other/x.zip"})
    (unpacking,) = bundled(settings=settings)["initContainers"]
    assert [entry["value"] for entry in unpacking["env"] if entry["name"] == "TRAINYARD_BUNDLE"] == [BUNDLE]


def test_the_unpacking_container_is_confined_and_takes_no_gpu() -> None:
    (unpacking,) = bundled()["initContainers"]
    assert unpacking["securityContext"] == container()["securityContext"]
    assert set(unpacking["resources"]["limits"]) == {"cpu", "memory"}
    assert unpacking["resources"]["limits"] == unpacking["resources"]["requests"]


def test_every_pod_of_a_distributed_job_unpacks_its_own() -> None:
    assert [one["name"] for one in bundled(nodes=2)["initContainers"]] == ["bundle"]


def test_pods_sign_in_to_aws_by_the_pools_service_account() -> None:
    pool = replace(POOL, service_account="trainyard-jobs")
    assert bundled(pool)["serviceAccountName"] == pod_spec(pool)["serviceAccountName"] == "trainyard-jobs"
    assert "serviceAccountName" not in pod_spec()
