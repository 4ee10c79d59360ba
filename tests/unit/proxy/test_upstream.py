from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tachikoma.model.errors import ProxyError
from tachikoma.proxy.upstream import Upstream, egress_proxy, tls_context

API = "https://api.anthropic.com"


@pytest.mark.parametrize(
    ("environment", "upstream", "proxy"),
    [
        ({}, API, None),
        ({"HTTPS_PROXY": "http://p:1"}, API, "http://p:1"),
        ({"https_proxy": "http://p:1"}, API, "http://p:1"),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}, API, "http://low:1"),
        ({"ALL_PROXY": "http://p:1"}, API, "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, API, None),
        ({"HTTPS_PROXY": ""}, API, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "anthropic.com"}, API, None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "*"}, API, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, API, "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "http://gateway.example", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "http://127.0.0.1:8080", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://localhost:8080/x", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://[::1]:8080", None),
    ],
)
def test_the_hosts_own_proxy_is_used_as_its_environment_says(
    environment: dict[str, str], upstream: str, proxy: str | None
) -> None:
    assert egress_proxy(environment, upstream) == proxy


def test_the_certificate_of_the_api_is_verified() -> None:
    context = tls_context({})
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"])
def test_certificates_that_cannot_be_loaded_are_said(name: str, tmp_path: Path) -> None:
    bad = tmp_path / "ca.pem"
    for each in (tmp_path / "missing.pem", bad):
        bad.write_text("no certificate")
        with pytest.raises(ProxyError, match="cannot be loaded") as caught:
            tls_context({name: str(each)})
        assert name in caught.value.hint


@pytest.mark.parametrize(
    ("base", "environment", "target"),
    [
        ("https://api.example", {}, "/v1/messages?beta=true"),
        ("https://api.example/prefix", {}, "/prefix/v1/messages?beta=true"),
        ("http://api.example:8080/a/b", {}, "/a/b/v1/messages?beta=true"),
        ("https://api.example", {"HTTPS_PROXY": "http://p:1"}, "/v1/messages?beta=true"),
        (
            "http://api.example",
            {"HTTP_PROXY": "http://u:p@p:1"},
            "http://api.example/v1/messages?beta=true",
        ),
    ],
)
async def test_the_request_line_names_the_path_or_to_a_proxy_the_whole_url(
    base: str, environment: dict[str, str], target: str
) -> None:
    upstream = Upstream(base=base, environment=environment)
    assert upstream.target(f"{base}/v1/messages?beta=true") == target
    asks_proxy = target.startswith("http:")
    assert upstream.proxy_headers() == (
        [("Proxy-Authorization", "Basic dTpw")] if asks_proxy else []
    )
