"""The body of a request on its way up, with a copy of it as long as it is short."""

from __future__ import annotations

from tachikoma.proxy import http1
from tachikoma.proxy.http1 import Body, Malformed
from tachikoma.proxy.ledger import Entry
from tachikoma.proxy.wire import GoneError, Wire

MOST_KEPT = 1 << 20
"""A longer body is not kept, and cannot be sent a second time."""


class Upload:
    """Sends the body of a request, as it comes from ``client``; again if it was short.

    ``malformed`` says what was wrong with it.
    """

    def __init__(self, client: Wire, body: Body, entry: Entry) -> None:
        self._client = client
        self._body = body
        self._entry = entry
        self._kept: list[bytes] | None = []
        self._size = 0
        self.malformed: Malformed | None = None

    @property
    def length(self) -> int | None:
        """Its size where that was told; None for a body in chunks."""
        return self._body.length

    @property
    def complete(self) -> bool:
        """Whether all of it has come."""
        return self._body.done

    @property
    def repeatable(self) -> bool:
        """Whether all that was sent of it can be sent again."""
        return self._kept is not None

    def begin(self) -> bytes:
        """Give what can be sent at once, framed."""
        before = b"".join(map(self._framed, self._kept or ()))
        if not self._body.done and self._client.waiting:
            before += self._next(self._client.taken())
        elif self._body.done and self._body.length is None:
            before += http1.LAST_CHUNK
        return before

    async def go_on(self, to: Wire) -> None:
        """Send the rest as it comes, until one side is gone.

        A body that is malformed breaks the connection off.
        """
        try:
            while not self._body.done:
                to.write(self._next(await self._client.some()))
                await to.drained()
        except Malformed as error:
            self.malformed = error
            to.abort()
        except GoneError:
            pass  # whoever waits for the answer learns of it as well

    def _next(self, data: bytes) -> bytes:
        pieces, rest = self._body.take(data)
        self._client.put_back(rest)
        for piece in pieces:
            self._keep(piece)
        framed = b"".join(map(self._framed, pieces))
        ended = self._body.done and self._body.length is None
        return framed + http1.LAST_CHUNK if ended else framed

    def _framed(self, piece: bytes) -> bytes:
        return piece if self._body.length is not None else http1.chunk(piece)

    def _keep(self, piece: bytes) -> None:
        self._entry.received += len(piece)
        self._size += len(piece)
        if self._kept is not None:
            self._kept.append(piece)
            if self._size > MOST_KEPT:
                self._kept = None
