"""The AWS calls outside the store: waking another function."""

from __future__ import annotations

import json
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import FunctionUnavailable

# The sync λ takes EventBridge's scheduled events; a kick is one without a time.
KICK = {
    "version": "0",
    "id": "kick",
    "detail-type": "Kick",
    "source": "trainyard",
    "account": "",
    "time": "",
    "region": "",
    "resources": [],
    "detail": {},
}


class LambdaKick:
    """Invokes the function `name` asynchronously. Raises FunctionUnavailable."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lambda: Any = None

    def __call__(self) -> None:
        if self._lambda is None:
            config = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard"})
            self._lambda = botocore.session.get_session().create_client("lambda", config=config)
        try:
            self._lambda.invoke(FunctionName=self._name, InvocationType="Event", Payload=json.dumps(KICK))
        except (BotoCoreError, ClientError) as error:
            raise FunctionUnavailable(f"{self._name} cannot be invoked: {error}") from error
