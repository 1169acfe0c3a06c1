"""Each test here runs on the embedded cluster, and with `make test-cluster` on the one of KUBECONFIG.

Where they differ, the embedded one is wrong.
"""

from __future__ import annotations

import os

import pytest

from tests.functional.kubernetes.clusters import Cluster, RealCluster


@pytest.fixture(scope="session", params=["embedded", pytest.param("real", marks=pytest.mark.cluster)])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    if request.param == "embedded":
        embedded: Cluster = request.getfixturevalue("embedded")
        return embedded
    if not os.environ.get("KUBECONFIG"):
        pytest.fail("set KUBECONFIG to the cluster that the tests are to run on", pytrace=False)
    return RealCluster(os.environ["KUBECONFIG"])
