"""What kubectl shows of the embedded cluster alone."""

from __future__ import annotations

import json

from tests.functional.kubernetes.clusters import Space


def test_strange_fields_are_refused_not_ignored(space: Space) -> None:
    container = {"name": "main", "image": "python:3.11", "command": ["true"]}
    pod = {"restartPolicy": "Never", "containers": [container], "hostPID": True}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "strange"}}
    manifest = json.dumps({**body, "spec": {"template": {"spec": pod}}})
    told = space.cluster.kubectl("-n", space.name, "create", "-f", "-", stdin=manifest, check=False)
    assert 'unsupported field "spec.template.spec.hostPID"' in told
