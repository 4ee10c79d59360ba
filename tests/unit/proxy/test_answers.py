from __future__ import annotations

import json

import pytest

from tachikoma.proxy import answers


def test_health_is_the_documented_body_and_names_the_instance() -> None:
    told = answers.health("0123abcd")
    assert told.body == b'{"status":"ok","proxy":"tachikoma"}'
    assert told.encode(last=False) == (
        b"HTTP/1.1 200 OK\r\nServer: tachikoma\r\nContent-Type: application/json\r\n"
        b"x-tachikoma-instance: 0123abcd\r\nContent-Length: 35\r\n\r\n" + told.body
    )


@pytest.mark.parametrize("retry", [True, False])
def test_an_error_is_the_apis_own_form_and_says_whether_to_try_again(retry: bool) -> None:
    told = answers.error(401, "authentication_error", "no", retry=retry)
    assert json.loads(told.body) == {
        "type": "error",
        "error": {"type": "authentication_error", "message": "tachikoma proxy: no"},
    }
    assert (("x-should-retry", "false") in told.headers) is not retry


def test_the_last_answer_says_so_and_a_head_has_no_body() -> None:
    told = answers.hello().encode(last=True)
    assert told.endswith(b"Connection: close\r\n\r\n")
    refused = answers.error(404, "not_found_error", "no", retry=False)
    assert refused.encode(last=False, with_body=False).endswith(b"\r\n\r\n")


def test_why_a_tunnel_is_refused_stands_in_the_status_line() -> None:
    told = answers.error(
        403, "permission_error", "evil.example is not allowed\r\nX: y; hint", retry=False
    )
    first = told.encode(last=True).split(b"\r\n")[0]
    assert first == b"HTTP/1.1 403 Forbidden (evil.example is not allowed??X: y)"


def test_a_client_without_proxy_credentials_is_asked_for_them() -> None:
    told = answers.error(407, "authentication_error", "no token", retry=False)
    assert ("Proxy-Authenticate", 'Basic realm="tachikoma"') in told.headers


def test_a_client_that_asks_for_too_much_is_told_when_to_come_again() -> None:
    told = answers.error(429, "rate_limit_error", "busy", retry=True, after_s=1)
    assert ("retry-after", "1") in told.headers
