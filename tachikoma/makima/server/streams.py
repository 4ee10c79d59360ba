"""Server-sent events: what happens, and what agents print, for as long as somebody reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from aiohttp import web

from tachikoma.makima.server import bodies, shapes
from tachikoma.makima.server.bell import rung_within
from tachikoma.makima.server.calls import Call
from tachikoma.makima.server.desk import Desk
from tachikoma.makima.server.shapes import Shape, moment
from tachikoma.makima.server.store import EVENTS, EventEntry
from tachikoma.makima.server.views import chunk
from tachikoma.model.errors_fleet import RequestError

BEAT_S = 15.0
"""After so long without an event there is a comment: who reads knows that we live."""
_STUCK_S = 30.0
_AT_ONCE = 100
_MOST = 1000
_STOP = "stop"
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "X-Accel-Buffering": "no",
}


class Streams:
    """The streams that are open. What is sent is read from the store as fast as the reader takes
    it, so a slow one costs no memory; one that takes nothing for half a minute is cut off.
    """

    def __init__(self, desk: Desk, *, beat_s: float = BEAT_S) -> None:
        self._desk = desk
        self._beat_s = beat_s
        self._store = desk.store
        self._stopping = False
        self.open = 0

    def stop(self) -> None:
        """End them all; browsers come again by themselves."""
        self._stopping = True
        self._store.bells.ring((_STOP,))

    async def serve(
        self,
        request: web.Request,
        name: str,
        call: Call,
        still_good: Callable[[], Awaitable[bool]],
    ) -> web.StreamResponse:
        """Answer with the stream of that name, while ``still_good`` says so.

        Raises:
            RequestError: there are too many, or there is nothing to stream.
        """
        if self.open >= _MOST or self._stopping:
            raise RequestError(
                "there are too many streams", status=503, reason="too_many", hint="try again later"
            )
        after = _resumed(request)
        if name == "streamEvents":
            events = self._events(call, after)
        else:
            await self._desk.entry(call)
            events = self._output(call, after)
        self.open += 1
        try:
            return await self._send(request, events, still_good)
        finally:
            self.open -= 1
            await events.aclose()

    async def _send(
        self,
        request: web.Request,
        events: AsyncIterator[str],
        still_good: Callable[[], Awaitable[bool]],
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=_HEADERS)
        response.headers["Cache-Control"] = "no-store"
        await response.prepare(request)
        looked = self._store.clock.monotonic()
        try:
            async for text in events:
                async with asyncio.timeout(_STUCK_S):
                    await response.write(text.encode())
                now = self._store.clock.monotonic()
                if now - looked >= self._beat_s:
                    looked = now
                    if not await still_good():
                        break
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _events(self, call: Call, after: int | None) -> AsyncGenerator[str, None]:
        query = call.asked(bodies.StreamQuery)
        latest = await self._store.latest_event()
        at = after if after is not None else query.after
        if at is None or at > latest:
            at = latest
            yield _event("hello", self._nothing("hello"), latest)
        elif at + 1 < await self._store.oldest_event():
            at = latest
            yield _event("reset", self._nothing("reset"), latest)
        else:
            yield ": resumed\n\n"
        with self._store.bells.heard(EVENTS, _STOP) as rung:
            while not self._stopping:
                rung.clear()
                found = await self._store.events(at, limit=_AT_ONCE, under=call.under)
                for text in await self._shown(found):
                    yield text
                if found:
                    at = found[-1].id
                elif not await rung_within(rung, self._beat_s):
                    yield ": \n\n"

    async def _shown(self, found: list[EventEntry]) -> list[str]:
        ids = {each.task for each in found if each.task is not None}
        entries = [entry for id_ in ids if (entry := await self._store.entry(id_)) is not None]
        rows = {row.id: row for row in await self._desk.views.rows(entries)}
        daemons = {}
        if any(each.machine is not None for each in found):
            daemons = {each.id: each for each in await self._desk.views.daemons()}
        shown = []
        for each in found:
            data = shapes.EventData(
                what=each.what,
                text=each.text,
                at=moment(each.at),
                task=rows.get(each.task) if each.task is not None else None,
                daemon=daemons.get(each.machine) if each.machine is not None else None,
            )
            shown.append(_event("task" if each.task is not None else "daemon", data, each.id))
        return shown

    def _nothing(self, what: str) -> shapes.EventData:
        return shapes.EventData(what=what, text="", at=moment(self._store.clock.now()))

    async def _output(self, call: Call, after: int | None) -> AsyncGenerator[str, None]:
        at = after if after is not None else call.asked(bodies.OutputStreamQuery).after
        entry = await self._desk.entry(call)
        yield ": here\n\n"
        with self._store.bells.heard(entry.id, _STOP) as rung:
            while not self._stopping:
                rung.clear()
                entry = await self._desk.entry(call)
                found = await self._store.printed(entry, after=at, limit=_AT_ONCE)
                if found and found[0].number > at + 1:
                    dropped = (await self._store.account(entry)).dropped
                    yield _event("gap", shapes.StreamGap(dropped_bytes=dropped))
                for piece in found:
                    at = piece.number
                    yield _event("output", chunk(piece), piece.number)
                if found:
                    continue
                if entry.status.ended:
                    end = shapes.StreamEnd(status=entry.status, error=entry.standing.error)
                    yield _event("end", end)
                    return
                if not await rung_within(rung, self._beat_s):
                    yield ": \n\n"


def _resumed(request: web.Request) -> int | None:
    """Give where a reader was that comes again; what is no number is passed over."""
    said = request.headers.get("Last-Event-ID", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 16 else None


def _event(kind: str, data: Shape, number: int | None = None) -> str:
    id_ = "" if number is None else f"id: {number}\n"
    return f"{id_}event: {kind}\ndata: {data.model_dump_json(by_alias=True)}\n\n"
