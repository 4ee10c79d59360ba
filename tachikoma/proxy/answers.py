"""What the proxy says itself: health, greetings, and errors in the API's own form."""

from __future__ import annotations

import json

from aiohttp import web

HEALTH_BODY = b'{"status":"ok","proxy":"tachikoma"}'
INSTANCE_HEADER = "x-tachikoma-instance"
SERVER = "tachikoma"


def health(instance: str) -> web.Response:
    """Say that the proxy lives; the header tells whose it is."""
    return web.Response(
        body=HEALTH_BODY,
        content_type="application/json",
        headers={INSTANCE_HEADER: instance, "Server": SERVER},
    )


def hello() -> web.Response:
    """Say nothing, kindly."""
    return web.Response(headers={"Server": SERVER})


def error(status: int, kind: str, why: str, *, retry: bool) -> web.Response:
    """Say what went wrong as the API would.

    Without ``retry`` the client is told to give up at once; Claude Code would otherwise try a
    refused token for three minutes.
    """
    document = {"type": "error", "error": {"type": kind, "message": f"tachikoma proxy: {why}"}}
    headers = {"Server": SERVER} if retry else {"Server": SERVER, "x-should-retry": "false"}
    return web.Response(
        status=status,
        body=json.dumps(document).encode("ascii"),
        content_type="application/json",
        headers=headers,
    )
