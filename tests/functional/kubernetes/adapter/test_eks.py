"""Jobs on EKS: clusters that check tokens as EKS does, over HTTPS, and know us as one of a group.

The Kubernetes behind is the embedded one, and with `make test-cluster` a real one.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from chalicelib.bootstrap import Container
from chalicelib.domain.job import Job, Resources
from chalicelib.domain.manifest import manifests
from chalicelib.domain.observed import Outcome, Workload
from chalicelib.domain.pools import Pool
from chalicelib.errors import ClusterForbids, ClusterUnavailable, SignInFailed
from chalicelib.services.cluster_ports import Cluster as ClusterPort
from chalicelib.settings import load
from tests import builders
from tests.fake_eks import REGION, FakeAws, FakeEksCluster
from tests.functional.kubernetes.clusters import ROOT, Cluster, Space, wait_for
from tests.iam_authenticator import check

OWN, SECRET = "AKIDOWN", "own/secret+key"
ROLE = "arn:aws:iam::222222222222:role/trainyard-clusters"
TRAINYARD = ["trainyard", "trainyard-reader"]


class Yard:
    """A Trainyard with two clusters on EKS, `prod` and, in another account, `research`."""

    def __init__(self, space: Space, aws: FakeAws, start: Callable[[str], FakeEksCluster]) -> None:
        self.space, self.aws = space, aws
        self.prod, self.research = start("prod"), start("research")
        self.skipped = timedelta(0)
        clusters = {
            "prod": {"eks": "prod", "region": REGION},
            "research": {"eks": "research", "region": REGION, "role_arn": ROLE},
        }
        pool = {"namespace": space.name, "priority_classes": False}
        pools = {name: {**pool, "cluster": name} for name in clusters}
        environ = {"TRAINYARD_CLUSTERS": json.dumps(clusters), "TRAINYARD_POOLS": json.dumps(pools)}
        self._container = Container(load(environ))
        self._container.clock = lambda: datetime.now(UTC) + self.skipped

    def pool(self, name: str) -> Pool:
        return self._container.settings.pools[name]

    def cluster(self, name: str) -> ClusterPort:
        return self._container.clusters(self.pool(name))

    def submit(self, pool: str, job_id: str, *command: str) -> Job:
        spec = builders.spec(
            pool=pool,
            image=self.space.cluster.image,
            command=command,
            resources=Resources(cpu=1, memory=64 * 1024**2, gpu=0),
        )
        job = builders.job(id=job_id, spec=spec)
        self.cluster(pool).submit(manifests(job, self.pool(pool), self._container.manifest))
        return job

    def seen(self, pool: str, job_id: str) -> Workload | None:
        return self.cluster(pool).workload(self.space.name, job_id)

    def ended(self, pool: str, job_id: str) -> Workload:
        def over() -> Workload | None:
            seen = self.seen(pool, job_id)
            return seen if seen and seen.outcome else None

        found = wait_for(over, what=f"{job_id} to end")
        assert found is not None
        return found


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAws]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", OWN)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    made = FakeAws({OWN: SECRET})
    monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
    yield made
    made.close()


@pytest.fixture
def start(aws: FakeAws, cluster: Cluster) -> Iterator[Callable[[str], FakeEksCluster]]:
    made: list[FakeEksCluster] = []

    def make(name: str) -> FakeEksCluster:
        one = FakeEksCluster(name, aws, cluster)
        aws.clusters[name] = one
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


@pytest.fixture
def yard(space: Space, aws: FakeAws, start: Callable[[str], FakeEksCluster]) -> Yard:
    grant(space)
    yard = Yard(space, aws, start)
    yard.prod.entries[OWN] = TRAINYARD
    yard.research.entries["ASIA1"] = TRAINYARD
    return yard


def grant(space: Space) -> None:
    """The roles of rbac.yaml to the groups of the same names, in this namespace alone."""
    documents = yaml.safe_load_all((ROOT / "infra" / "kubernetes" / "rbac.yaml").read_text())
    base = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{space.name}"
    group = "rbac.authorization.k8s.io"
    roles = [one for one in documents if one["kind"] == "ClusterRole"]
    assert [role["metadata"]["name"] for role in roles] == TRAINYARD
    for role in roles:
        name = role["metadata"]["name"]
        bodies: dict[str, Any] = {
            "roles": {"kind": "Role", "rules": role["rules"]},
            "rolebindings": {
                "kind": "RoleBinding",
                "subjects": [{"apiGroup": group, "kind": "Group", "name": name}],
                "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            },
        }
        for kind, body in bodies.items():
            whole = {"apiVersion": f"{group}/v1", "metadata": {"name": name}, **body}
            code, answer = space.cluster.request("POST", f"{base}/{kind}", whole)
            assert code == 201, answer


def printed(yard: Yard, pool: str, seen: Workload) -> Sequence[str]:
    (pod,) = seen.pods
    chunk = yard.cluster(pool).logs.tail(yard.space.name, pod.name, 10, 10**6, ended=True)
    return [line.text for line in chunk.lines]


def test_a_job_runs_to_its_end_and_its_cluster_is_looked_up_once(yard: Yard) -> None:
    job = yard.submit("prod", "job-a", "sh", "-c", "echo hello from EKS")
    with_watch = yard.cluster("prod").watch(yard.pool("prod"))
    assert [seen.job_id for seen in with_watch.workloads()] == [job.id]
    seen = yard.ended("prod", job.id)
    assert seen.outcome == Outcome.COMPLETE
    assert printed(yard, "prod", seen) == ["hello from EKS"]
    yard.cluster("prod").delete(yard.space.name, job.id)
    wait_for(lambda: yard.seen("prod", job.id) is None, what="the Job to be gone")
    assert yard.aws.asked == ["DescribeCluster prod"]
    assert set(yard.prod.keys) == {OWN}


def test_a_terminal_gets_a_token_and_trusts_the_cluster_s_own_authority(yard: Yard) -> None:
    call = yard.cluster("prod").exec_call(yard.space.name, "pod", ["sh"], tty=True)
    (bearer,) = call.headers.values()
    assert check(bearer.removeprefix("Bearer "), "prod", REGION, yard.aws.secrets, datetime.now(UTC)) == OWN
    assert call.url.startswith(yard.prod.url.replace("https", "wss")) and call.tls is not None
    with socket.create_connection(("127.0.0.1", yard.prod.port)) as plain:
        call.tls.wrap_socket(plain, server_hostname="127.0.0.1").close()
    with (
        socket.create_connection(("127.0.0.1", yard.research.port)) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        call.tls.wrap_socket(plain, server_hostname="127.0.0.1")


def test_two_clusters_are_each_signed_in_to_with_their_own_account_s_role(yard: Yard) -> None:
    for pool in ("prod", "research"):
        yard.submit(pool, f"job-{pool}", "true")
    for pool in ("prod", "research"):
        assert yard.ended(pool, f"job-{pool}").outcome == Outcome.COMPLETE
    assert (set(yard.prod.keys), set(yard.research.keys)) == ({OWN}, {"ASIA1"})
    assert yard.aws.asked == ["DescribeCluster prod", f"AssumeRole {ROLE}", "DescribeCluster research"]


def test_a_sign_in_that_runs_out_is_made_anew_in_time(yard: Yard) -> None:
    assert yard.seen("research", "job-a") is None
    yard.skipped += timedelta(hours=1)
    del yard.aws.secrets["ASIA1"]
    yard.research.entries["ASIA2"] = TRAINYARD
    assert yard.seen("research", "job-a") is None
    assert yard.research.keys == ["ASIA1", "ASIA2"], "the old one was not tried again"


def test_a_role_without_an_access_entry_is_told_what_it_lacks_and_let_in_as_soon_as_it_has_it(
    yard: Yard,
) -> None:
    yard.prod.entries.clear()
    with pytest.raises(SignInFailed, match="access entry"):
        yard.seen("prod", "job-a")
    yard.prod.entries[OWN] = ["somebody-else"]
    with pytest.raises(ClusterForbids, match="forbidden"):
        yard.seen("prod", "job-a")
    yard.prod.entries[OWN] = TRAINYARD
    assert yard.seen("prod", "job-a") is None


def test_a_cluster_that_is_still_being_created_is_there_as_soon_as_it_is_and_holds_up_no_other(
    yard: Yard,
) -> None:
    yard.aws.statuses["prod"] = "CREATING"
    with pytest.raises(SignInFailed, match="EKS cluster 'prod' is still being created"):
        yard.seen("prod", "job-a")
    assert yard.seen("research", "job-a") is None
    del yard.aws.statuses["prod"]
    yard.skipped += timedelta(seconds=5)
    assert yard.seen("prod", "job-a") is None


def test_a_cluster_that_does_not_exist_is_named(yard: Yard) -> None:
    del yard.aws.clusters["prod"]
    with pytest.raises(SignInFailed, match=f"there is no EKS cluster 'prod' in {REGION}"):
        yard.seen("prod", "job-a")


def test_a_cluster_that_was_made_anew_is_found_at_its_new_address(
    yard: Yard, start: Callable[[str], FakeEksCluster]
) -> None:
    assert yard.seen("prod", "job-a") is None
    yard.prod.close()
    with pytest.raises(ClusterUnavailable, match="does not answer"):
        yard.seen("prod", "job-a")
    start("prod").entries[OWN] = TRAINYARD
    yard.skipped += timedelta(minutes=1)
    assert yard.seen("prod", "job-a") is None


def test_a_server_with_another_certificate_is_not_told_who_we_are(
    yard: Yard, start: Callable[[str], FakeEksCluster]
) -> None:
    impostor = start("prod")
    impostor.certificate_authority = yard.prod.certificate_authority
    with pytest.raises(ClusterUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        yard.seen("prod", "job-a")
    assert impostor.tokens == []
