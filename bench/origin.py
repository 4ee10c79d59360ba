"""``python -m bench.origin PORT``: an API that does nothing but stream events at a steady pace.

``POST /v1/messages`` with the headers ``x-events`` and ``x-pace`` (events a second) gets that many
server-sent events, numbered, in chunks.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
)
_FILLING = "x" * 60


class Stream(asyncio.Protocol):
    """One client. It is written to by timers, so that thousands take no tasks."""

    def __init__(self) -> None:
        self._head = b""
        self._next = 0
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self._next == 0 and b"\r\n\r\n" in self._head:
            fields = dict(
                line.lower().split(b": ", 1)
                for line in self._head.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
            )
            self._events = int(fields[b"x-events"])
            self._pause = 1 / float(fields[b"x-pace"])
            self._next = 1
            self._began = self._loop.time()
            self._transport.write(_HEAD)
            self._tick()

    def _tick(self) -> None:
        if self._transport.is_closing():
            return
        text = f"event: ping\ndata: {self._next} {_FILLING}\n\n".encode()
        self._transport.write(b"%x\r\n%b\r\n" % (len(text), text))
        if self._next == self._events:
            self._transport.write(b"0\r\n\r\n")
            self._transport.close()
            return
        self._loop.call_at(self._began + self._next * self._pause, self._tick)
        self._next += 1


async def serve(port: int) -> None:
    """Serve until somebody ends this process."""
    server = await asyncio.get_running_loop().create_server(Stream, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
