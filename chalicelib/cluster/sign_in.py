"""What it takes to be let in by a cluster that no kubeconfig tells of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SignIn:
    """`token` is asked for before each request, by many threads: it keeps its token while that is good."""

    host: str  # https://…
    certificate_authority: str  # PEM
    token: Callable[[], str]


# Raises ClusterUnavailable. Called again when the cluster is not found there any more, or does not take the
# token: what it makes is new.
MakeSignIn = Callable[[], SignIn]
