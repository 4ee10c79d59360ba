"""An answer on its way down: each piece is read, counted and written on as it comes."""

from __future__ import annotations

import asyncio

from tachikoma.proxy import http1
from tachikoma.proxy.headers import Headers, to_client
from tachikoma.proxy.http1 import Body, Malformed, ResponseHead
from tachikoma.proxy.ledger import Entry
from tachikoma.proxy.meter import Meter
from tachikoma.proxy.wire import GoneError, Wire

_JOINED = 64 << 10


class Download:
    """Hands one answer from ``source`` to ``client``."""

    def __init__(self, client: Wire, source: Wire, entry: Entry, meter: Meter | None) -> None:
        self._client = client
        self._source = source
        self._entry = entry
        self._meter = meter
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._failure: BaseException | None = None
        self._held: bytes | None = None
        self._chunked = False
        self._body: Body = http1.Unbounded()

    async def run(
        self, head: ResponseHead, body: Body, *, method: str, extra: Headers = (), last: bool
    ) -> bool:
        """Hand the answer on, with ``extra`` headers; tell whether ``source`` may be used again.

        ``last`` says that the client's connection ends with it.

        Raises:
            GoneError: ``source`` broke off before the end of the body.
            Malformed: the body is not framed as its head says.
        """
        self._body = body
        bodiless = method == "HEAD" or head.status in (204, 304)
        self._chunked = not bodiless and body.length is None
        # What came with the head goes on with it: a second write would cost as much as the rest.
        self._held = self._head(head, bodiless=bodiless, extra=extra, last=last)
        if not body.done and self._source.waiting:
            self._sink(self._source.taken())
        self._flush()
        if self._failure is not None:
            raise self._failure
        if not body.done:
            self._source.feeds(self._client)
            try:
                self._source.pour(self._sink, self._ended)
                await self._finished
            finally:
                self._source.gather()
                self._client.fed_by_nobody()
            if self._failure is not None:
                raise self._failure
        if self._chunked:
            self._client.write(http1.LAST_CHUNK)
        if self._meter is not None:
            self._meter.finish()
        return head.persistent and not self._source.waiting and self._source.usable

    def _head(self, head: ResponseHead, *, bodiless: bool, extra: Headers, last: bool) -> bytes:
        headers = [*to_client(head.headers), *extra]
        if self._chunked:
            headers.append(("Transfer-Encoding", "chunked"))
        elif self._body.length is not None and not bodiless:
            headers.append(("Content-Length", str(self._body.length)))
        elif bodiless:
            headers += [pair for pair in head.headers if pair[0].lower() == "content-length"][:1]
        if last:
            headers.append(("Connection", "close"))
        return http1.encode_head(f"HTTP/1.1 {head.status} {head.reason}", headers)

    def _sink(self, data: bytes) -> None:
        try:
            pieces, rest = self._body.take(data)
        except Malformed as error:
            self._fail(error)
            return
        for piece in pieces:
            self._entry.sent += len(piece)
            self._write(http1.chunk(piece) if self._chunked else piece)
            if self._meter is not None:
                self._meter.feed(piece)
        if self._body.done:
            self._source.gather()
            self._source.put_back(rest)
            self._finish()

    def _write(self, data: bytes) -> None:
        if self._held is None:
            self._client.write(data)
        elif len(data) <= _JOINED:
            self._held += data
        else:
            self._flush()
            self._client.write(data)

    def _flush(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._client.write(held)

    def _ended(self, error: BaseException | None) -> None:
        if error is None and self._body.ends_with_connection():
            self._finish()
        else:
            self._fail(error or GoneError("the answer broke off"))

    def _fail(self, error: BaseException) -> None:
        self._source.gather()
        self._failure = self._failure or error
        self._finish()

    def _finish(self) -> None:
        if not self._finished.done():
            self._finished.set_result(None)
