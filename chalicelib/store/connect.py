"""Makes the DynamoDB client. On botocore alone: boto3 around it would only cost a cold start its import."""

from __future__ import annotations

from botocore.config import Config

from chalicelib.aws_session import AwsSession
from chalicelib.store.table import DynamoClient

CONNECT_SECONDS = 1.0
READ_SECONDS = 5.0
ATTEMPTS = 3  # of one request: lost connections, 5xx, throttling
CONNECTIONS = 16


def dynamo_client(session: AwsSession) -> DynamoClient:
    """How long a request may take, and how often it is tried, is the same for all of the store."""
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        parameter_validation=False,  # which DynamoDB does, too
    )
    client: DynamoClient = session.client("dynamodb", config=config)
    return client
