from __future__ import annotations

import json

import pytest

from tachikoma.proxy import answers


def test_health_says_what_is_documented_and_whose_proxy_it_is() -> None:
    answer = answers.health("0123abcd")
    assert answer.status == 200
    assert answer.body == b'{"status":"ok","proxy":"tachikoma"}'
    assert answer.headers["x-tachikoma-instance"] == "0123abcd"


@pytest.mark.parametrize(("retry", "header"), [(True, None), (False, "false")])
def test_an_error_has_the_form_of_the_api(retry: bool, header: str | None) -> None:
    answer = answers.error(401, "authentication_error", "no", retry=retry)
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body) == {
        "type": "error",
        "error": {"type": "authentication_error", "message": "tachikoma proxy: no"},
    }
    assert (answer.status, answer.content_type) == (401, "application/json")
    assert answer.headers.get("x-should-retry") == header
