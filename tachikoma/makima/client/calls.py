"""Calls of a makima server's API; what it says is checked no further than that it is JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from tachikoma.host.clock import Clock, attempts
from tachikoma.makima.client.account import Account
from tachikoma.model.errors_fleet import RequestError, ServerAwayError

Json = dict[str, Any]
_CONNECT_S = 10.0
_ANSWER_S = 660.0
_SILENT_S = 45.0
"""A stream says something every 15 s, at least that it is there."""
_PATIENCE_S = 120.0
_LONGEST_LINE = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event of a stream; ``id`` is None where it has none."""

    kind: str
    data: Json
    id: int | None


class ServerCalls:
    """Speaks with the server of ``account`` from beginning to end of its block."""

    def __init__(self, account: Account, *, clock: Clock) -> None:
        self.account = account
        self._clock = clock
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Get ready; nothing is connected yet."""
        self._client = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self.account.key}"},
            timeout=aiohttp.ClientTimeout(total=_ANSWER_S, sock_connect=_CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=1 << 20,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what is open."""
        if self._client is not None:
            await self._client.close()

    async def get(self, path: str, query: Mapping[str, str | int] | None = None) -> Json:
        """Ask.

        Raises:
            RequestError: the server refuses.
            ServerAwayError: it does not answer.
        """
        return await self._call("GET", path, query=query)

    async def post(self, path: str, body: Mapping[str, object] | None = None) -> Json:
        """Have something done.

        Raises:
            RequestError: the server refuses.
            ServerAwayError: it does not answer; what was asked for may have been done.
        """
        return await self._call("POST", path, body=body)

    async def stream(self, path: str, *, after: int) -> AsyncIterator[StreamEvent]:
        """Give the events after ``after``, until the server ends the stream with `end`. One that
        breaks off is taken up where it was, for some minutes without success at most.

        Raises:
            RequestError: the server refuses.
            ServerAwayError: it does not come back.
        """
        at = after
        while True:
            trouble: ServerAwayError | None = None
            async for _ in attempts(self._clock, deadline_s=_PATIENCE_S, first_s=0.2, most_s=5.0):
                try:
                    async for event in self._once(path, at):
                        at = event.id if event.id is not None else at
                        yield event
                        if event.kind == "end":
                            return
                    break  # ended in good order, as a server does that stops: come again
                except ServerAwayError as error:
                    trouble = error
                except RequestError as error:
                    if error.status < 500:
                        raise
                    trouble = ServerAwayError(
                        error.message, status=error.status, reason=error.reason, hint=error.hint
                    )
            else:
                assert trouble is not None
                raise trouble

    async def _once(self, path: str, after: int) -> AsyncIterator[StreamEvent]:
        assert self._client is not None
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENT_S)
        try:
            async with self._client.get(
                self._url(path), headers={"Last-Event-ID": str(after)}, timeout=timeout
            ) as answer:
                if answer.status >= 400:
                    raise _refused(answer.status, await answer.text())
                async for event in _events(answer.content):
                    yield event
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise self._away(error) from error

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str | int] | None = None,
    ) -> Json:
        assert self._client is not None
        try:
            async with self._client.request(
                method, self._url(path), json=body, params=query
            ) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise self._away(error) from error
        if answer.status >= 400:
            raise _refused(answer.status, text)
        try:
            found: Json = json.loads(text)
        except ValueError as error:
            raise _no_makima(self.account.url) from error
        if not isinstance(found, dict):
            raise _no_makima(self.account.url)
        return found

    def _url(self, path: str) -> str:
        return f"{self.account.url}/api/v1{path}"

    def _away(self, error: Exception) -> ServerAwayError:
        why = str(error) or type(error).__name__
        return ServerAwayError(
            f"the makima server {self.account.url} does not answer: {why}",
            status=0,
            reason="server_away",
            hint="see that it runs: `tachikoma makima up` here, `tachikoma makima server` alone",
        )


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[StreamEvent]:
    fields: dict[str, str] = {}
    async for line in _lines(content):
        name, _, value = line.partition(": ")
        if name:
            fields[name] = value
            continue
        if data := fields.get("data"):
            id_ = fields.get("id", "")
            number = int(id_) if id_.isdigit() else None
            yield StreamEvent(fields.get("event", "message"), json.loads(data), number)
        fields = {}


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[str]:
    """Give lines of any length: the reader's own are bounded too low."""
    begun: list[bytes] = []
    size = 0
    async for piece in content.iter_any():
        first, *others = piece.split(b"\n")
        begun.append(first)
        size += len(first)
        if size > _LONGEST_LINE:
            raise aiohttp.ClientPayloadError("a line of the stream is too long")
        for other in others:
            yield b"".join(begun).decode("utf-8", "replace").rstrip("\r")
            begun, size = [other], len(other)


def _refused(status: int, text: str) -> RequestError:
    try:
        told = json.loads(text)["error"]
        message, reason = str(told["message"]), str(told["code"])
        hint = str(told.get("hint") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, reason = f"the server answers HTTP {status}", f"http_{status}"
        hint = "is it a makima server?"
    return RequestError(message, status=status, reason=reason, hint=hint)


def _no_makima(url: str) -> ServerAwayError:
    return ServerAwayError(
        f"what answers at {url} is no makima server",
        status=0,
        reason="no_makima",
        hint="check its URL: `tachikoma makima login URL`",
    )
