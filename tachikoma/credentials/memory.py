"""A source and a keychain in memory, for tests and trials: they say what they were told to say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from tachikoma.credentials.port import Credential, Finding
from tachikoma.model.errors import KeychainError


class MemorySource:
    """Gives ``credential``, or says ``why`` there is none; both may be changed at any time.

    ``looks`` counts how often it was asked. While ``gate`` is closed, looking waits.
    """

    def __init__(self, name: str = "memory", credential: Credential | None = None) -> None:
        self._name = name
        self.credential = credential
        self.why = "is empty"
        self.warning = False
        self.provider = ""
        self.version = 0
        self.looks = 0
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def name(self) -> str:
        """How the source is called in words and logs."""
        return self._name

    def stamp(self) -> object:
        """Give ``version``."""
        return self.version

    async def look(self) -> Finding:
        """Give what there is at this moment, once the gate is open."""
        self.looks += 1
        found = self.credential
        await self.gate.wait()
        if found is not None:
            return Finding(self._name, found)
        return Finding(self._name, None, self.why, self.warning, self.provider)


class MemoryKeychain:
    """Holds ``items`` by service and account; with ``failure`` it cannot be read."""

    name = "memory keychain"

    def __init__(self, items: Mapping[tuple[str, str], str] | None = None) -> None:
        self.items = dict(items or {})
        self.failure: KeychainError | None = None
        self.reads = 0

    async def read(self, services: Sequence[str], account: str) -> Mapping[str, str]:
        """Give the items of ``account``."""
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        return {
            service: self.items[service, account]
            for service in services
            if (service, account) in self.items
        }
