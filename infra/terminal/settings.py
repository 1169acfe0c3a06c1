"""The relay's own settings, beside those that it shares with the functions (chalicelib.settings)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from chalicelib.settings import InvalidSetting, Reader

DAY_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """Each field's variable is its upper-case name behind `TRAINYARD_TERMINAL_`; docs/terminal.md."""

    host: str
    port: int
    origins: frozenset[str]
    idle_seconds: float
    session_seconds: float
    sessions: int
    assets: Path
    # Not for anybody to set, but for tests to shorten.
    ping_seconds: float = 20.0
    silent_seconds: float = 90.0  # no frame from the client, not even a pong: it is gone
    stalled_seconds: float = 60.0  # a frame that one end does not take


def load(environ: Mapping[str, str]) -> RelaySettings:
    """Read the settings out of `environ`. Raises InvalidSetting."""
    read = Reader(environ)
    port = read.whole("TERMINAL_PORT", 8080)
    if port > 65535:
        raise InvalidSetting(f"TRAINYARD_TERMINAL_PORT={port}: a port up to 65535 is allowed")
    own = _origin_of(read.websocket_url("TERMINAL_URL"))
    return RelaySettings(
        host=read.text("TERMINAL_HOST", "127.0.0.1"),
        port=port,
        origins=frozenset(filter(None, read.text("TERMINAL_ORIGINS", own).replace(" ", "").split(","))),
        idle_seconds=read.seconds("TERMINAL_IDLE_SECONDS", 900.0, most=DAY_SECONDS),
        session_seconds=read.seconds("TERMINAL_SESSION_SECONDS", 4 * 3600.0, most=DAY_SECONDS),
        sessions=read.whole("TERMINAL_SESSIONS", 100),
        assets=Path(read.text("TERMINAL_ASSETS", str(Path(__file__).parent / "node_modules"))),
    )


def _origin_of(url: str) -> str:
    """The origin of a page that the relay at this WebSocket URL serves."""
    parts = urlsplit(url)
    return f"{parts.scheme.replace('ws', 'http', 1)}://{parts.netloc}" if url else ""
