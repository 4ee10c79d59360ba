"""One request that is let pass: asked of the other side, its answer handed down."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tachikoma.host import tasks
from tachikoma.proxy import http1
from tachikoma.proxy.download import Download
from tachikoma.proxy.headers import Headers, Pairs
from tachikoma.proxy.http1 import Body, Malformed, ResponseHead
from tachikoma.proxy.ledger import Entry, Verdict
from tachikoma.proxy.meter import Meter
from tachikoma.proxy.route import RequestHead, Tenant
from tachikoma.proxy.upload import Upload
from tachikoma.proxy.wire import GoneError, Wire

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class NoAnswerError(ConnectionError):
    """The other side gave no answer, or none that can be understood; says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """An answer whose head has come: from where, and the body that is still to come."""

    source: Wire
    head: ResponseHead
    body: Body


@dataclass(slots=True)
class Exchange:
    """A request at work. ``other`` is the other side, once there is one.

    ``last`` says that the client's connection ends with it.
    """

    client: Wire
    head: RequestHead
    upload: Upload
    entry: Entry
    tenant: Tenant
    last: bool
    other: Wire | None = None
    _sending: asyncio.Task[None] | None = field(default=None)

    def end(self) -> None:
        """Send no more of the body, and let go of the other side unless it was taken back."""
        self.stop_sending()
        if self.other is not None:
            self.other.abort()
            self.other = None

    def stop_sending(self) -> None:
        """Send no more of the body."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def framing(self) -> Pairs:
        """Give the headers that tell the other side how long the body is."""
        length = self.upload.length
        if length is None:
            return [("Transfer-Encoding", "chunked")]
        told = length or self.head.method in _WITH_BODY
        return [("Content-Length", str(length))] if told else []

    async def ask(self, source: Wire, first: str, headers: Headers) -> Found:
        """Send the request to ``source``; gives the answer as soon as its head has come.

        The body goes on being sent until ``end``.

        Raises:
            NoAnswerError: there is none.
            Malformed: the client's body is malformed.
        """
        self.other, upload = source, self.upload
        source.write(http1.encode_head(first, [*headers, *self.framing()]) + upload.begin())
        if not upload.complete:
            self._sending = tasks.spawn(upload.go_on(source), name="request body")
        while True:
            try:
                raw = await source.head()
                if raw is None:
                    raise GoneError("the connection ended before an answer")
                head, body = http1.parse_response(raw, method=self.head.method)
            except (OSError, Malformed) as error:
                if upload.malformed is not None:
                    raise upload.malformed from error
                raise NoAnswerError(str(error) or type(error).__name__) from error
            if head.status == 101:
                raise NoAnswerError("it changes the protocol, which nobody asked for")
            if head.status >= 200:
                return Found(source, head, body)

    async def hand_down(
        self, found: Found, *, meter: Meter | None = None, extra: Headers = ()
    ) -> bool:
        """Stream the answer to the client; tell whether ``found.source`` may be used again.

        An answer that breaks off midway breaks off for the client too: its connection is closed
        before the end that was announced, so that the client can tell.
        """
        entry = self.entry
        entry.status = found.head.status
        self.last = self.last or not self.upload.complete
        download = Download(self.client, found.source, entry, meter)
        try:
            reusable = await download.run(
                found.head, found.body, method=self.head.method, extra=extra, last=self.last
            )
        except (OSError, Malformed) as error:
            entry.verdict, entry.why = Verdict.BROKEN, str(error) or type(error).__name__
            if self.upload.malformed is not None:
                entry.why = self.upload.malformed.why
            self.last = True
            self.client.close()
            return False
        entry.verdict = Verdict.FORWARDED
        return reusable and self.upload.complete
