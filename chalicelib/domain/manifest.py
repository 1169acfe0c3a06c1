"""A job's Kubernetes objects: one batch/v1 Job and, for several nodes, the headless Service they meet by.

Shapes: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chalicelib.domain import labels
from chalicelib.domain.job import Job, JobSpec
from chalicelib.domain.pools import Pool

MANIFEST_VERSION = "1"
CONTAINER = "training"
BUNDLE_CONTAINER = "bundle"
WORKSPACE = "/workspace"
DATASET = "/dataset"
RENDEZVOUS_PORT = 29500
BUNDLE_MEMORY = "256Mi"
# What the manifest sets in every container; a request may not set them itself.
RESERVED_ENV = frozenset(
    {
        "MASTER_ADDR",
        "MASTER_PORT",
        "NODE_RANK",
        "PET_MASTER_ADDR",
        "PET_MASTER_PORT",
        "PET_NNODES",
        "PET_NODE_RANK",
        "TF_CONFIG",
    }
)
RESERVED_ENV_PREFIX = "TRAINYARD_"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestSettings:
    """What a stage sets for all of its jobs."""

    instance: str
    finished_job_ttl_seconds: int
    stop_grace_seconds: int
    bundle_image: str = ""  # has python3 and botocore
    bundle_env: Mapping[str, str] = field(default_factory=dict)  # how S3 is reached, where not as usual
    unpack: str = ""  # the program, in Python, that fetches a bundle and unpacks it


def manifests(job: Job, pool: Pool, settings: ManifestSettings) -> Sequence[Mapping[str, Any]]:
    """The objects to create. The Job comes first and is to own the others: they end with it."""
    if job.spec.nodes == 1:
        return [_kubernetes_job(job, pool, settings)]
    return [_kubernetes_job(job, pool, settings), _service(job, pool, settings)]


def _kubernetes_job(job: Job, pool: Pool, settings: ManifestSettings) -> Mapping[str, Any]:
    spec = job.spec
    job_spec: dict[str, Any] = {
        "parallelism": spec.nodes,
        "completions": spec.nodes,
        "backoffLimit": spec.max_retries,
        "ttlSecondsAfterFinished": settings.finished_job_ttl_seconds,
        # A pod that its node lost or pushed out did not fail by itself: it does not count as a retry.
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
            ]
        },
        "template": {
            "metadata": _metadata(job, pool, settings, own=False),
            "spec": _pod(job, pool, settings),
        },
    }
    if spec.max_runtime_seconds is not None:
        job_spec["activeDeadlineSeconds"] = spec.max_runtime_seconds
    if spec.nodes > 1:
        job_spec["completionMode"] = "Indexed"
    if spec.queue is not None:
        job_spec["suspend"] = True  # Kueue resumes it when the queue admits it
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(job, pool, settings, own=True),
        "spec": job_spec,
    }


def _service(job: Job, pool: Pool, settings: ManifestSettings) -> Mapping[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(job, pool, settings, own=True),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # the ranks look each other up before they are ready
            "selector": {labels.JOB: job.id},
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT}],
        },
    }


def _metadata(job: Job, pool: Pool, settings: ManifestSettings, *, own: bool) -> Mapping[str, Any]:
    metadata: dict[str, Any] = {
        "labels": {
            **job.spec.labels,
            labels.MANAGED_BY: "trainyard",
            labels.INSTANCE: settings.instance,
            labels.JOB: job.id,
            labels.TENANT: job.tenant,
            labels.POOL: pool.id,
        },
        "annotations": {labels.NAME: job.spec.name, labels.VERSION: MANIFEST_VERSION},
    }
    if own:
        metadata |= {"name": job.id, "namespace": pool.namespace_of(job.tenant)}
        if job.spec.queue is not None:
            metadata["labels"][labels.QUEUE] = job.spec.queue
    return metadata


def _pod(job: Job, pool: Pool, settings: ManifestSettings) -> Mapping[str, Any]:
    spec = job.spec
    volumes, mounts = _volumes(spec, pool)
    security: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
    if pool.run_as is not None:
        security |= {"runAsNonRoot": True, "runAsUser": pool.run_as, "runAsGroup": pool.run_as}
        security |= {"fsGroup": pool.run_as, "fsGroupChangePolicy": "OnRootMismatch"}
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": settings.stop_grace_seconds,
        "securityContext": security,
        "volumes": volumes,
        "containers": [{**_container(job, pool), "volumeMounts": mounts}],
    }
    if spec.bundle is not None:
        pod["initContainers"] = [_unpacking(spec, settings)]
    if pool.service_account:
        pod["serviceAccountName"] = pool.service_account
    if pool.priority_classes:
        pod["priorityClassName"] = f"trainyard-{spec.priority}"
    if pool.node_selector:
        pod["nodeSelector"] = dict(pool.node_selector)
    if pool.tolerations:
        pod["tolerations"] = [dict(toleration) for toleration in pool.tolerations]
    if spec.nodes > 1:
        pod["subdomain"] = job.id
    return pod


def _container(job: Job, pool: Pool) -> dict[str, Any]:
    spec = job.spec
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": spec.image,
        "imagePullPolicy": "IfNotPresent",
        "command": [_escaped(word) for word in spec.command],
        "env": _environment(job),
        "resources": _resources(spec, pool),
        **_confined(),
    }
    if spec.workspace_id is not None or spec.bundle is not None:
        container["workingDir"] = WORKSPACE
    return container


def _unpacking(spec: JobSpec, settings: ManifestSettings) -> dict[str, Any]:
    """The container that puts the job's code into its workspace before the training begins."""
    what = {"TRAINYARD_BUNDLE": spec.bundle or "", "TRAINYARD_BUNDLE_TARGET": WORKSPACE}
    values = {**settings.bundle_env, **what}
    # A pod asks for as much as its largest container: this one seldom adds to what the training asks for.
    amounts = {"cpu": "1", "memory": BUNDLE_MEMORY}
    return {
        "name": BUNDLE_CONTAINER,
        "image": settings.bundle_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", _escaped(settings.unpack)],
        "env": [{"name": name, "value": _escaped(value)} for name, value in values.items()],
        "resources": {"requests": dict(amounts), "limits": amounts},
        "volumeMounts": [{"name": "workspace", "mountPath": WORKSPACE}],
        **_confined(),
    }


def _confined() -> dict[str, Any]:
    return {
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _volumes(spec: JobSpec, pool: Pool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    # Data loaders pass tensors through shared memory, and a container's default is 64 MiB. What is written
    # there counts as the container's memory, so half of that is the most that leaves it room to work.
    volumes: list[dict[str, Any]] = [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": str(spec.resources.memory // 2)}}
    ]
    mounts: list[dict[str, Any]] = [{"name": "shm", "mountPath": "/dev/shm"}]
    if spec.workspace_id is not None:
        claim = pool.workspace_claim.format(id=spec.workspace_id)
        volumes.append({"name": "workspace", "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": "workspace", "mountPath": WORKSPACE})
    elif spec.bundle is not None:
        volumes.append({"name": "workspace", "emptyDir": {}})
        mounts.append({"name": "workspace", "mountPath": WORKSPACE})
    if spec.dataset_id is not None:
        claim = pool.dataset_claim.format(id=spec.dataset_id)
        volumes.append({"name": "dataset", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
        mounts.append({"name": "dataset", "mountPath": DATASET, "readOnly": True})
    return volumes, mounts


def _resources(spec: JobSpec, pool: Pool) -> Mapping[str, Any]:
    # Requests equal limits (QoS Guaranteed): a training job is the last to be evicted.
    amounts = {"cpu": str(spec.resources.cpu), "memory": str(spec.resources.memory)}
    if spec.resources.gpu:
        amounts[pool.gpu_resource] = str(spec.resources.gpu)
    return {"requests": dict(amounts), "limits": amounts}


def _environment(job: Job) -> list[dict[str, Any]]:
    spec = job.spec
    values = {key: _escaped(value) for key, value in spec.env.items()}
    values |= {
        "TRAINYARD_JOB_ID": job.id,
        "TRAINYARD_TENANT": job.tenant,
        "TRAINYARD_NODES": str(spec.nodes),
        "TRAINYARD_GPUS_PER_NODE": str(spec.resources.gpu),
    }
    environment: list[dict[str, Any]] = [{"name": key, "value": values[key]} for key in values]
    if spec.nodes > 1:
        environment += _rendezvous(job)
    return environment


def _rendezvous(job: Job) -> list[dict[str, Any]]:
    """torchrun reads its options from PET_*, torch.distributed MASTER_*, TensorFlow TF_CONFIG.

    In TF_CONFIG the index must be a number, and `$(…)` is expanded to one inside the JSON text.
    """
    hosts = [f"{job.id}-{rank}.{job.id}" for rank in range(job.spec.nodes)]
    workers = [f"{host}:{RENDEZVOUS_PORT}" for host in hosts]
    cluster = json.dumps({"cluster": {"worker": workers}})
    rank = {"fieldRef": {"fieldPath": f"metadata.annotations['{labels.COMPLETION_INDEX}']"}}
    fixed = {
        "MASTER_ADDR": hosts[0],
        "MASTER_PORT": str(RENDEZVOUS_PORT),
        "PET_MASTER_ADDR": hosts[0],
        "PET_MASTER_PORT": str(RENDEZVOUS_PORT),
        "PET_NNODES": str(job.spec.nodes),
        "PET_NODE_RANK": "$(NODE_RANK)",
        "TF_CONFIG": cluster[:-1] + ', "task": {"type": "worker", "index": $(NODE_RANK)}}',
    }
    return [{"name": "NODE_RANK", "valueFrom": rank}, *({"name": k, "value": v} for k, v in fixed.items())]


def _escaped(text: str) -> str:
    """Kubernetes expands `$(NAME)` and reads `$$` as `$`; doubled, a caller's text stays as written."""
    return text.replace("$", "$$") if "$(" in text or "$$" in text else text
