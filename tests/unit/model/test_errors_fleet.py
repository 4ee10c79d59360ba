from __future__ import annotations

from tachikoma.model.errors_fleet import RequestError, ServerAwayError


def test_a_refusal_keeps_what_the_server_said() -> None:
    error = RequestError("no", status=409, reason="wrong_state", hint="wait")
    assert (error.message, error.hint, error.status, error.reason) == (
        "no",
        "wait",
        409,
        "wrong_state",
    )
    assert isinstance(ServerAwayError("x", status=0, reason="server_away"), RequestError)
