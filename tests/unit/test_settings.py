"""Which clusters TRAINYARD_CLUSTERS may name, and what is said of one that it may not."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from chalicelib.settings import InvalidSetting, load

CA = b64encode(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n").decode()
EKS = {"eks": "prod"}
HERE = {"endpoint": "https://ABC.gr7.eu-west-1.eks.amazonaws.com", "certificate_authority": CA}
ROLE = {"role_arn": "arn:aws-us-gov:iam::222222222222:role/teams/train+yard@1"}


def read(cluster: Any) -> Any:
    environ = {
        "TRAINYARD_CLUSTERS": json.dumps({"prod": cluster}),
        "TRAINYARD_POOLS": json.dumps({"default": {"cluster": "prod"}}),
    }
    return load(environ).clusters["prod"]


@pytest.mark.parametrize(
    "cluster",
    [
        {},
        {"kubeconfig": "/etc/kube", "context": "c"},
        EKS,
        {**EKS, "region": "us-gov-west-1"},
        {**EKS, **ROLE},
        {**EKS, **HERE, "region": "cn-north-1", **ROLE},
    ],
)
def test_a_cluster_is_one_of_a_kubeconfig_or_one_on_eks(cluster: dict[str, str]) -> None:
    assert read(cluster) == cluster


@pytest.mark.parametrize(
    ("cluster", "problem"),
    [
        ("prod", ": a JSON object is allowed"),
        ({**EKS, "kubeconfig": "/etc/kube"}, ".kubeconfig does not go with the others"),
        ({"region": "eu-west-1"}, ".region does not go with the others"),
        ({**EKS, "zone": "a"}, ".zone is not known"),
        ({"kubeconfig": ""}, ".kubeconfig=''"),
        ({"kubeconfig": 1}, ".kubeconfig=1"),
        ({"eks": ""}, ".eks=''"),
        ({"eks": "a/b"}, ".eks='a/b'"),
        ({"eks": "arn:aws:eks:eu-west-1:1:cluster/prod"}, ".eks='arn:"),
        ({**EKS, "region": "Frankfurt"}, ".region='Frankfurt'"),
        ({**EKS, "role_arn": "trainyard"}, ".role_arn='trainyard'"),
        ({**EKS, "role_arn": "arn:aws:iam::222222222222:user/ada"}, ".role_arn="),
        ({**EKS, **HERE, "endpoint": "http://plain"}, ".endpoint='http://plain'"),
        ({**EKS, **HERE, "endpoint": "https://host/path"}, ".endpoint='https://host/path'"),
        ({**EKS, **HERE, "certificate_authority": "-----BEGIN CERTIFICATE-----"}, ".certificate_authority="),
        ({**EKS, "endpoint": HERE["endpoint"]}, ": endpoint and certificate_authority go together"),
        ({**EKS, "certificate_authority": CA}, ": endpoint and certificate_authority go together"),
    ],
)
def test_a_cluster_that_cannot_be_read_is_named_with_its_field(cluster: Any, problem: str) -> None:
    with pytest.raises(InvalidSetting) as raised:
        read(cluster)
    assert str(raised.value).startswith(f"TRAINYARD_CLUSTERS.prod{problem}")
