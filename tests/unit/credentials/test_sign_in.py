from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.credentials.sign_in import NobodySignedIn, SignIn, decode, one_word


def document(**login: object) -> str:
    return json.dumps({"claudeAiOauth": login, "mcpOAuth": {"accessToken": "no"}})


def test_the_access_token_and_its_expiry_are_taken_and_nothing_else() -> None:
    text = document(accessToken="tok", refreshToken="no", expiresAt=1_795_128_796_832)
    assert decode(text) == SignIn("tok", 1_795_128_796.832)


@pytest.mark.parametrize("expires", [None, "soon", True, [], 10**400, float("inf"), float("nan")])
def test_an_expiry_that_is_no_time_is_unknown(expires: object) -> None:
    assert decode(document(accessToken="tok", expiresAt=expires)).expires is None


def test_a_document_without_a_sign_in_is_told_from_a_broken_one() -> None:
    with pytest.raises(NobodySignedIn):
        decode("{}")
    with pytest.raises(ValueError, match="holds no access token"):
        decode(document(accessToken="", expiresAt=0))


@pytest.mark.parametrize("text", ["a b", "a\nb", "ü", "", " ", "a\x00", "a\x7f"])
def test_what_would_not_fit_into_a_header_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not one word"):
        one_word(text)


@given(st.text())
def test_no_document_breaks_it_and_no_error_quotes_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is not JSON|holds no sign-in)$"):
        decode(text)


def test_a_sign_in_does_not_show_its_token() -> None:
    assert "hidden" not in repr(SignIn("hidden", None))
