from __future__ import annotations

import sys

import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringError, KeyringLocked

from tachikoma.credentials.keychain_reader import backend, look_up
from tachikoma.model.errors import KeychainError


class MemoryKeyring(KeyringBackend):
    """The library's keyring, in memory."""

    priority = 1.0

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library's own base has no types
        self.items: dict[tuple[str, str], str] = {}
        self.failure = failure

    def get_password(self, service: str, username: str) -> str | None:
        if self.failure is not None:
            raise self.failure
        return self.items.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.items[service, username] = password


def test_the_items_of_the_account_are_given_and_missing_ones_left_out() -> None:
    keyring = MemoryKeyring()
    keyring.set_password("a", "me", "1")
    keyring.set_password("b", "you", "2")
    assert look_up(keyring, ["a", "b"], "me") == {"a": "1"}


@pytest.mark.parametrize(
    ("platform", "failure", "why"),
    [
        ("linux", KeyringLocked("no"), "is locked"),
        ("darwin", KeyringLocked("no"), "does not let us read the item"),
        ("linux", KeyringError("bus"), "cannot be read: bus"),
        (
            "linux",
            UnicodeDecodeError("utf-8", b"hidden\xff", 6, 7, "bad"),
            "holds an item that is no text",
        ),
    ],
)
def test_a_keyring_that_cannot_be_read_says_why_and_what_helps(
    platform: str, failure: Exception, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(KeychainError) as caught:
        look_up(MemoryKeyring(failure), ["a"], "me")
    assert caught.value.message == why
    assert caught.value.hint


@pytest.mark.skipif(sys.platform != "linux", reason="the Secret Service is on Linux")
def test_a_session_that_is_over_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeychainError, match="is over") as caught:
        look_up(backend("linux"), ["a"], "me")
    assert caught.value.hint == ""
