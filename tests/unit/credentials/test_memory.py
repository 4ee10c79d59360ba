from __future__ import annotations

from tachikoma.credentials.memory import MemorySource
from tachikoma.credentials.port import Credential, Finding, Kind


async def test_it_says_what_it_was_told_and_counts_the_looks() -> None:
    source = MemorySource("drawer")
    assert await source.look() == Finding("drawer", None, "is empty")
    source.credential = Credential(Kind.OAUTH, "x", "drawer")
    source.version = 7
    assert await source.look() == Finding("drawer", source.credential)
    assert (source.looks, source.stamp()) == (2, 7)
