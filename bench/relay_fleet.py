"""``python -m bench.relay_fleet URL KEY COUNT NAME``: daemons in one process, as light as they get.

A task whose plan is ``echo T`` is answered at once: status, one line of output with T and the time
at which it came, completion. One whose plan is ``burst N`` is answered by N lines of output.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aiohttp
import uvloop

_AT_ONCE = 50
_LINE = "x" * 160


async def daemon(
    client: aiohttp.ClientSession, url: str, key: str, name: str, turn: asyncio.Semaphore
) -> None:
    """Be one daemon, for ever."""
    while True:
        try:
            async with turn:
                channel = await client.ws_connect(url, max_msg_size=0)
                hello = {
                    "type": "authenticate",
                    "apiKey": key,
                    "machineId": name,
                    "hostname": name,
                    "maxConcurrentTasks": 8,
                }
                await channel.send_str(json.dumps(hello))
                await channel.receive()
            async for message in channel:
                if message.type is aiohttp.WSMsgType.TEXT:
                    await answer(channel, json.loads(message.data))
        except (aiohttp.ClientError, ConnectionError):
            pass
        await asyncio.sleep(1)


async def answer(channel: aiohttp.ClientWebSocketResponse[bool], command: dict[str, str]) -> None:
    """Do a task."""
    if command["type"] != "spawnTask":
        return
    task, (what, told) = command["taskId"], command["plan"].split()
    status = {
        "type": "taskStatusChange",
        "taskId": task,
        "oldStatus": "pending",
        "newStatus": "running",
    }
    await channel.send_str(json.dumps(status))
    output = {"type": "taskOutput", "taskId": task, "isPartial": False}
    if what == "echo":
        line = f"{told} {time.monotonic_ns()}"
        await channel.send_str(json.dumps({**output, "output": line}))
    else:
        for number in range(int(told)):
            await channel.send_str(json.dumps({**output, "output": f"{number} {_LINE}"}))
    end = {"type": "taskComplete", "taskId": task, "success": True, "error": None}
    await channel.send_str(json.dumps(end))


async def main(url: str, key: str, count: int, name: str) -> None:
    """Run all of them until this process is ended."""
    turn = asyncio.Semaphore(_AT_ONCE)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as client, asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(daemon(client, url, key, f"{name}-{number}", turn))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
