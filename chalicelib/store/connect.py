"""Makes the DynamoDB client. On botocore alone: boto3 around it would only cost a cold start its import."""

from __future__ import annotations

import botocore.session
from botocore.config import Config

from chalicelib.store.table import DynamoClient

CONNECT_SECONDS = 1.0
READ_SECONDS = 5.0
ATTEMPTS = 3  # of one request: lost connections, 5xx, throttling
CONNECTIONS = 16


def dynamo_client() -> DynamoClient:
    """A client for the region, the credentials and the endpoint of the environment."""
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
    )
    client: DynamoClient = botocore.session.get_session().create_client("dynamodb", config=config)
    return client
