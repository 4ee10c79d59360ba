"""The pages themselves: files that are read once, with the headers that keep them harmless."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import hdrs, web

from tachikoma.makima.dashboard.host_desk import HostDesk
from tachikoma.makima.dashboard.port import HostView
from tachikoma.makima.server.app import AddRoutes
from tachikoma.makima.server.desk import Desk

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        # There is no way from a string to HTML: browsers that know it refuse every attempt.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
PLACES = ("/", "/sign-in", "/tree", "/tasks/{task}", "/daemons", "/vms", "/proxy")
"""Where people are: all of them get the same page, which knows where it is."""

_STATIC = Path(__file__).parent / "static"
_KINDS = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent."""

    kind: str
    body: bytes
    packed: bytes
    tag: str


def assets(directory: Path = _STATIC) -> dict[str, Asset]:
    """Read the files, by name."""
    return {
        path.name: _asset(path)
        for path in sorted(directory.iterdir())
        if path.suffix in _KINDS and path.is_file()
    }


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(
        kind=_KINDS[path.suffix],
        body=body,
        packed=gzip.compress(body, mtime=0),
        tag=hashlib.sha256(body).hexdigest()[:32],
    )


def dashboard(host: HostView | None = None) -> AddRoutes:
    """Give what adds the dashboard to a server; ``host`` is its machine, if it is to be seen."""

    def add(app: web.Application, desk: Desk) -> None:
        found = assets()
        index = _sender(found["index.html"])
        for place in PLACES:
            app.router.add_get(place, index)
        for name, asset in found.items():
            if name != "index.html":
                app.router.add_get(f"/static/{name}", _sender(asset))
        HostDesk(desk.store.keyring, desk.store.clock, host).add_to(app)

    return add


def _sender(asset: Asset) -> _Handler:
    async def send(request: web.Request) -> web.StreamResponse:
        return answer(asset, request)

    return send


def answer(asset: Asset, request: web.BaseRequest) -> web.Response:
    """Send a file, or say that the browser has it already."""
    response = web.Response(status=200)
    response.headers.update(
        {
            "Content-Security-Policy": POLICY,
            # Asked for each time, and answered in a few bytes: an update is seen at once.
            "Cache-Control": "no-cache",
            "Vary": "Accept-Encoding",
        }
    )
    response.etag = asset.tag
    asked = request.if_none_match or ()
    if any(each.value in {asset.tag, "*"} for each in asked):
        response.set_status(304)
        return response
    response.content_type = asset.kind
    response.charset = "utf-8"
    if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        response.headers[hdrs.CONTENT_ENCODING] = "gzip"
        response.body = asset.packed
    else:
        response.body = asset.body
    return response
