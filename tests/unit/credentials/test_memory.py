from __future__ import annotations

import pytest

from tachikoma.credentials.memory import MemoryKeychain, MemorySource
from tachikoma.credentials.port import Credential, Finding, Kind
from tachikoma.model.errors import KeychainError


async def test_it_says_what_it_was_told_and_counts_the_looks() -> None:
    source = MemorySource("drawer")
    assert await source.look() == Finding("drawer", None, "is empty")
    source.credential = Credential(Kind.OAUTH, "x", "drawer")
    source.version = 7
    assert await source.look() == Finding("drawer", source.credential)
    assert (source.looks, source.stamp()) == (2, 7)


async def test_a_keychain_gives_the_items_of_the_account_that_are_there() -> None:
    keychain = MemoryKeychain({("a", "me"): "1", ("b", "you"): "2"})
    assert await keychain.read(["a", "b"], "me") == {"a": "1"}
    keychain.failure = KeychainError("is locked")
    with pytest.raises(KeychainError, match="is locked"):
        await keychain.read(["a"], "me")
    assert keychain.reads == 2
