"""``python -m bench.relay_bare PORT URL DAEMONS``: the least that a relay can be, to compare with.

It passes bytes on: from daemons to the server, and from the server to one daemon after the other.
It reads no frame, keeps nothing, and checks no key.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import uuid

import aiohttp
import uvloop
from aiohttp import web

from tachikoma.makima.commands import Authenticated
from tachikoma.makima.wire import encode


async def main(port: int, url: str, count: int) -> None:
    """Pass on until this process is ended; to daemons once there are ``count``."""
    daemons: list[web.WebSocketResponse] = []
    complete = asyncio.Event()
    async with aiohttp.ClientSession() as client, client.ws_connect(url) as server:

        async def serve(request: web.Request) -> web.WebSocketResponse:
            channel = web.WebSocketResponse(compress=False, max_msg_size=0)
            await channel.prepare(request)
            await channel.receive()
            await channel.send_str(encode(Authenticated(daemon_id=uuid.uuid4())))
            daemons.append(channel)
            if len(daemons) == count:
                complete.set()
            async for message in channel:
                await server.send_str(message.data)
            return channel

        await server.send_str(
            '{"type":"authenticate","apiKey":"","machineId":"bare","hostname":"bare",'
            '"maxConcurrentTasks":0}'
        )
        await server.receive()
        app = web.Application()
        app.router.add_get("/ws/daemon", serve)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        turns = itertools.count()
        await complete.wait()
        async for message in server:
            await daemons[next(turns) % len(daemons)].send_str(message.data)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as run:
        run.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
