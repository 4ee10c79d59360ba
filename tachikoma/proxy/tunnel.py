"""Two connections joined: what comes on one goes out on the other, until both have ended."""

from __future__ import annotations

import asyncio

from tachikoma.proxy.ledger import Entry
from tachikoma.proxy.wire import Wire


class Tunnel:
    """Joins ``client`` and ``host``, and counts the bytes in ``entry``."""

    def __init__(self, client: Wire, host: Wire, entry: Entry) -> None:
        self._client = client
        self._host = host
        self._entry = entry
        self._open = 2
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Pass bytes until both sides have ended.

        Raises:
            OSError: one side broke off.
        """
        for wire in (self._client, self._host):
            wire.half_open = True
        self._client.feeds(self._host)
        self._host.feeds(self._client)
        try:
            self._client.pour(self._up, lambda error: self._ended(self._host, error))
            self._host.pour(self._down, lambda error: self._ended(self._client, error))
            await self._finished
        finally:
            for wire in (self._client, self._host):
                wire.gather()
                wire.fed_by_nobody()

    def _up(self, data: bytes) -> None:
        self._entry.received += len(data)
        self._host.write(data)

    def _down(self, data: bytes) -> None:
        self._entry.sent += len(data)
        self._client.write(data)

    def _ended(self, other: Wire, error: BaseException | None) -> None:
        self._open -= 1
        other.end_writing()
        if self._finished.done():
            return
        if error is not None:
            self._finished.set_exception(error)
        elif not self._open:
            self._finished.set_result(None)
