"""The official client's connection to a cluster: where it is, how it is known, who we are there.

`kubernetes` is imported on first use only: it is slow (see CONTRIBUTING).
"""

from __future__ import annotations

import os
from typing import Any

from urllib3 import Retry

from chalicelib.cluster.sign_in import MakeSignIn
from chalicelib.errors import ClusterUnavailable

# ruff: noqa: PLC0415


def kubeconfig_client(path: str | None, context: str | None) -> Any:
    """See KubernetesApi.from_kubeconfig. Raises ClusterUnavailable."""
    from kubernetes.client.api_client import ApiClient
    from kubernetes.config import ConfigException, load_incluster_config, load_kube_config
    from yaml import YAMLError

    configuration = _configuration()
    try:
        if path is None and context is None and _is_in_a_pod():
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            load_kube_config(path, context, client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, YAMLError, OSError, ValueError) as error:
        raise ClusterUnavailable(f"the kubeconfig cannot be used: {error}") from error
    return ApiClient(configuration)


def token_client(make: MakeSignIn) -> Any:
    """One whose requests each carry a token that is good by then. Raises ClusterUnavailable."""
    from kubernetes.client.api_client import ApiClient

    sign_in = make()

    def refresh(configuration: Any) -> None:
        configuration.api_key["BearerToken"] = f"Bearer {sign_in.token()}"

    configuration = _configuration()
    configuration.host = sign_in.host
    configuration.ca_cert_data = sign_in.certificate_authority
    configuration.api_key["BearerToken"] = ""  # the client asks the hook only for a key that is there
    configuration.refresh_api_key_hook = refresh
    return ApiClient(configuration)


def _configuration() -> Any:
    from kubernetes.client.configuration import Configuration

    configuration = Configuration()
    # A connection that the server closed is tried again, unless it carries a create: whether one is
    # under way must be known by the timeout.
    configuration.retries = Retry(total=1, connect=0, read=1, redirect=0)
    return configuration


def _is_in_a_pod() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ
