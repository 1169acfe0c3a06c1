"""Trainyard's own adapter, on the embedded cluster and with `make test-cluster` on the one of KUBECONFIG."""

from tests.functional.kubernetes.parity.conftest import cluster

__all__ = ["cluster"]
