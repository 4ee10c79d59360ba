"""A source in memory, for tests and trials: it says what it was told to say."""

from __future__ import annotations

import asyncio

from tachikoma.credentials.port import Credential, Finding


class MemorySource:
    """Gives ``credential``, or says ``why`` there is none; both may be changed at any time.

    ``looks`` counts how often it was asked. While ``gate`` is closed, looking waits.
    """

    def __init__(self, name: str = "memory", credential: Credential | None = None) -> None:
        self._name = name
        self.credential = credential
        self.why = "is empty"
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
        """Wait for the gate, then give what there is."""
        self.looks += 1
        await self.gate.wait()
        return Finding(self._name, self.credential, "" if self.credential else self.why)
