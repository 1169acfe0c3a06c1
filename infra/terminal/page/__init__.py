"""The terminal as a page: xterm.js, this folder's own files, and nothing from anywhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from aiohttp import web

# xterm.js sets its colours and sizes by style elements of its own, so styles may be inline; scripts may not.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
ASSETS: Mapping[str, str] = {
    "xterm.js": "@xterm/xterm/lib/xterm.js",
    "xterm.css": "@xterm/xterm/css/xterm.css",
    "addon-fit.js": "@xterm/addon-fit/lib/addon-fit.js",
}
OWN = ("terminal.js", "terminal.css")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def page_routes(folder: Path, assets: Path) -> list[web.RouteDef]:
    """`/terminal`, and beside it the files that it loads."""
    files = {name: folder / name for name in OWN} | {name: assets / path for name, path in ASSETS.items()}

    async def page(_: web.Request) -> web.StreamResponse:
        installed = all(path.is_file() for path in files.values())
        return web.FileResponse(folder / ("terminal.html" if installed else "missing.html"), headers=HEADERS)

    routes = [web.get(f"/terminal/{name}", _file(path)) for name, path in files.items()]
    return [web.get("/terminal", page), *routes]


def _file(path: Path) -> Handler:
    async def serve(_: web.Request) -> web.StreamResponse:
        if not path.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(path, headers=HEADERS)

    return serve
