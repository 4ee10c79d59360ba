from __future__ import annotations

import pytest

from tachikoma.makima.server_url import in_the_clear, server_url, without_user


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ws://localhost:8080", "ws://localhost:8080/ws/daemon"),
        ("ws://localhost:8080/", "ws://localhost:8080/ws/daemon"),
        ("wss://api.makima.example.com/daemon", "wss://api.makima.example.com/daemon"),
        ("wss://api.makima.example.com/daemon/", "wss://api.makima.example.com/daemon/"),
        ("http://localhost:8080", "ws://localhost:8080/ws/daemon"),
        ("https://h.example/x?tenant=a", "wss://h.example/x?tenant=a"),
        ("https://h.example?tenant=a", "wss://h.example/ws/daemon?tenant=a"),
        ("WSS://h.example", "wss://h.example/ws/daemon"),
        ("ws://[::1]:9", "ws://[::1]:9/ws/daemon"),
    ],
)
def test_a_url_becomes_the_one_that_is_connected_to(written: str, meant: str) -> None:
    assert server_url(written) == meant
    assert server_url(meant) == meant


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("", "spaces"),
        ("localhost:8080", "does not begin"),
        ("ftp://h.example", "does not begin"),
        ("ws://", "no host"),
        ("ws://:80", "no host"),
        ("ws://h:99999", "Port out of range"),
        ("ws://h:0", "no port"),
        ("ws://h:port", "Port could not be cast"),
        ("ws://[::1", "Invalid IPv6"),
        ("ws://h.example/a b", "spaces"),
        ("ws://h.example/#part", "fragment"),
        ("ws://h.example/#", "fragment"),
        ("wss://ada:secret@h.example", "server.api_key"),
        ("wss://key@h.example/ws", "server.api_key"),
    ],
)
def test_anything_else_is_refused_with_the_reason(written: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        server_url(written)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "clear"),
    [
        ("ws://localhost:8080/ws/daemon", False),
        ("ws://127.0.0.1/x", False),
        ("ws://[::1]/x", False),
        ("wss://h.example/x", False),
        ("ws://h.example/x", True),
        ("ws://127.0.0.1.h.example/x", True),
        ("", False),
    ],
)
def test_only_a_server_elsewhere_without_tls_is_in_the_clear(url: str, *, clear: bool) -> None:
    assert in_the_clear(url) is clear


def test_a_printed_url_names_no_user() -> None:
    assert without_user("wss://ada:pw@h.example/x@y") == "wss://[redacted]@h.example/x@y"
    assert without_user("wss://h.example/x@y") == "wss://h.example/x@y"
