"""The server's URL as people write it, made the one that is connected to (pure)."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit, urlunsplit

DEFAULT_PATH = "/ws/daemon"
EXPECTED = (
    "the URL of a makima server, such as wss://makima.example.com (ws, wss, http or https, and no"
    " user name or password in it)"
)
_SCHEMES = {"ws": "ws", "http": "ws", "wss": "wss", "https": "wss"}
_PRINTED = re.compile(r"[!-~]+")
_LOCAL = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1", re.IGNORECASE)


def server_url(text: str) -> str:
    """Give the WebSocket URL that ``text`` means: one without a path gets ``/ws/daemon``.

    Raises:
        ValueError: it is none; says why.
    """
    if not _PRINTED.fullmatch(text):
        raise ValueError("it holds spaces, or characters that no URL has")
    parts = urlsplit(text)
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None:
        raise ValueError("it does not begin with ws://, wss://, http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("it names a user; the key belongs into server.api_key")
    if not parts.hostname or parts.port == 0:  # .port raises ValueError for what is no port
        raise ValueError("it names no host, or no port that there is")
    if "#" in text:
        raise ValueError("it has a fragment (#), which no server is told")
    path = parts.path if parts.path not in ("", "/") else DEFAULT_PATH
    return urlunsplit(SplitResult(scheme, parts.netloc, path, parts.query, ""))


def in_the_clear(url: str) -> bool:
    """Tell whether what goes to ``url`` can be read on the way: no TLS, and not this machine."""
    parts = urlsplit(url)
    return parts.scheme == "ws" and not _LOCAL.fullmatch(parts.hostname or "")


def without_user(text: str) -> str:
    """Give a URL as it may be printed: without what stands before the host."""
    return re.sub(r"(?<=//)[^/?#]*@", "[redacted]@", text)
