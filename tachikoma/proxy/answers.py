"""What the proxy says itself: health, greetings, and errors in the API's own form (pure)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus

from tachikoma.proxy.headers import SERVER
from tachikoma.proxy.http1 import encode_head

HEALTH_BODY = b'{"status":"ok","proxy":"tachikoma"}'
INSTANCE_HEADER = "x-tachikoma-instance"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_LONGEST_REASON = 120


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of the proxy's own."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    reason: str = field(default="")

    def encode(self, *, last: bool, with_body: bool = True) -> bytes:
        """Give it as bytes; ``last`` says that the connection ends with it."""
        reason = self.reason or _phrase(self.status)
        headers = [("Server", SERVER), *self.headers, ("Content-Length", str(len(self.body)))]
        if last:
            headers.append(("Connection", "close"))
        head = encode_head(f"HTTP/1.1 {self.status} {reason}", headers)
        return head + self.body if with_body else head


def health(instance: str) -> Answer:
    """Say that the proxy lives; the header tells whose it is."""
    headers = (("Content-Type", "application/json"), (INSTANCE_HEADER, instance))
    return Answer(200, HEALTH_BODY, headers)


def hello() -> Answer:
    """Say nothing, kindly."""
    return Answer(200)


def error(status: int, kind: str, why: str, *, retry: bool, after_s: int | None = None) -> Answer:
    """Say what went wrong as the API would.

    Without ``retry`` the client is told to give up at once; Claude Code would otherwise try a
    refused token for three minutes. The reason stands in the status line too: of a refused
    tunnel, most programs show nothing else.
    """
    document = {"type": "error", "error": {"type": kind, "message": f"tachikoma proxy: {why}"}}
    headers = [("Content-Type", "application/json")]
    if not retry:
        headers.append(("x-should-retry", "false"))
    if after_s is not None:
        headers.append(("retry-after", str(after_s)))
    if status == 407:
        headers.append(("Proxy-Authenticate", 'Basic realm="tachikoma"'))
    reason = f"{_phrase(status)} ({why.partition(';')[0]})" if status in (403, 407, 502) else ""
    plain = "".join(char if " " <= char <= "~" else "?" for char in reason)[:_LONGEST_REASON]
    return Answer(status, json.dumps(document).encode("ascii"), tuple(headers), plain)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Overloaded" if status == 529 else "Unknown"
