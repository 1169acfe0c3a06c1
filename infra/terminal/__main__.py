"""`python -m infra.terminal`: the terminal relay, one process, configured by the environment."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from chalicelib.bootstrap import container
from chalicelib.settings import InvalidSetting
from infra.terminal import settings as relay_settings
from infra.terminal.app import Relay
from infra.terminal.settings import RelaySettings
from infra.terminal.shell import Shells

THREADS = 32  # calls of the table and of Kubernetes that may wait at a time
SHUTDOWN_SECONDS = 25.0  # below a pod's usual 30 s from SIGTERM to SIGKILL


def main() -> int:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stdout
    )
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    try:
        settings = relay_settings.load(os.environ)
        if not container().settings.terminal_secret:
            raise InvalidSetting("TRAINYARD_TERMINAL_SECRET is not set")
    except InvalidSetting as error:
        print(f"terminal: {error}", file=sys.stderr)
        return 2
    asyncio.run(serve(settings))
    return 0


async def serve(settings: RelaySettings) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    loop.set_default_executor(ThreadPoolExecutor(THREADS))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    shells = Shells(container().clusters)
    relay = Relay(lambda: container().redemption, shells, settings)
    runner = web.AppRunner(relay.application(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, settings.host, settings.port).start()
    print(f"ready http://{settings.host}:{settings.port}", flush=True)
    await stopping.wait()
    await relay.stop(SHUTDOWN_SECONDS)
    await runner.cleanup()
    await shells.close()


if __name__ == "__main__":
    sys.exit(main())
