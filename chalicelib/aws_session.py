"""What all AWS clients of a process are made of. Each session of botocore's reads and keeps for itself what
botocore knows of AWS: 8 MB, and the time that it takes to parse it."""

from __future__ import annotations

import threading
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.loaders import Loader

# Who calls. botocore would put its own together anew for each request, a fifth of its own time for a Query.
USER_AGENT = "trainyard"


class AwsSession:
    """The region, the credentials and the endpoint of the environment; built on first use. `models` is what
    it knows of AWS, by default what botocore does."""

    def __init__(self, models: Loader | None = None) -> None:
        self._models = models
        self._lock = threading.Lock()
        self._session: Any = None

    def __call__(self) -> Any:
        """botocore's session. Not for making clients: it lets only one thread at a time do that."""
        with self._lock:
            return self._opened()

    def client(self, service: str, **options: Any) -> Any:
        """A client of that service; `options` are those of botocore's create_client."""
        with self._lock:
            return self._opened().create_client(service, **options)

    def _opened(self) -> Any:
        if self._session is None:
            self._session = botocore.session.get_session()
            self._session.set_default_client_config(Config(user_agent=USER_AGENT))
            if self._models is not None:
                self._session.register_component("data_loader", self._models)
        return self._session
