from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tachikoma.host.clock import SystemClock
from tachikoma.makima.messages import Heartbeat, TaskComplete
from tachikoma.makima.server.store import keyring_at
from tests.unit.makima.server.stage import FakeDaemon, QuickClock, Team, team

pytestmark = pytest.mark.live


async def running(crew: Team, daemon: FakeDaemon, **more: Any) -> str:
    task = str((await crew.create(**more))["id"])
    await daemon.wire.until(
        lambda: any(each["taskId"] == task for each in daemon.wire.of("spawnTask"))
    )
    await daemon.runs(task)
    await crew.until(task, status="running")
    return task


async def test_what_a_daemon_says_twice_counts_once(tmp_path: Path) -> None:
    async with team(tmp_path) as crew:
        daemon = await crew.daemon()
        task = await running(crew, daemon)
        await daemon.prints(task, "one", "two")
        await daemon.wire.settled()
        daemon.wire.cut()
        again = await crew.daemon()
        (welcome,) = again.wire.of("authenticated")
        assert welcome["lastSeq"] == daemon.seq
        assert again.id == daemon.id
        again.seq = daemon.seq - 2  # it has not heard that it was heard
        await again.prints(task, "one", "two", "three")
        await again.wire.settled()
        page = await crew.get(f"/tasks/{task}/output")
        assert [each["text"] for each in page["items"]] == ["one", "two", "three"]


async def test_a_server_that_comes_again_goes_on_where_it_was(tmp_path: Path) -> None:
    async with team(tmp_path) as crew:
        daemon = await crew.daemon()
        task = await running(crew, daemon)
        await daemon.prints(task, '{"type":"result",', partial=True)
        await daemon.wire.settled()
        seq = daemon.seq
    async with team(tmp_path) as crew:
        waiting = await crew.get(f"/tasks/{task}")
        assert waiting["attention"] == "its daemon host-m1 is away"
        daemon = await crew.daemon()
        daemon.seq = seq
        await daemon.prints(task, '"result":"whole","num_turns":1}')
        await daemon.ends(task)
        done = await crew.until(task, status="done")
        assert (done["result"], done["figures"]["turns"]) == ("whole", 1)


async def test_what_a_daemon_has_missed_it_is_told_again(tmp_path: Path) -> None:
    async with team(tmp_path) as crew:
        daemon = await crew.daemon()
        task = (await crew.create())["id"]
        await daemon.spawned()
        daemon.wire.cut()
        again = await crew.daemon()
        await again.beat()
        assert (await again.spawned())["taskId"] == task
        await again.beat()
        await again.beat(task)
        assert len(again.wire.of("spawnTask")) == 1


async def test_a_daemon_that_is_away_is_told_to_interrupt_when_it_comes(tmp_path: Path) -> None:
    async with team(tmp_path) as crew:
        daemon = await crew.daemon()
        task = await running(crew, daemon)
        daemon.wire.cut()
        await crew.until(task, attention="its daemon host-m1 is away")
        refused = await crew.call("POST", f"/tasks/{task}/pause")
        assert (refused.status, refused.code) == (503, "daemon_away")
        assert "Retry-After" in refused.headers
        await crew.post(f"/tasks/{task}/interrupt")
        again = await crew.daemon()
        await again.beat(task)
        assert [each["taskId"] for each in await again.wire.heard("interruptTask")] == [task]


async def test_tasks_of_a_daemon_that_stays_away_fail_and_are_taken_back(tmp_path: Path) -> None:
    async with team(tmp_path, clock=QuickClock(), grace_s=20) as crew:
        daemon = await crew.daemon()
        task = await running(crew, daemon)
        other = (await crew.create("after it", dependencies=[task]))["id"]
        daemon.wire.cut()
        failed = await crew.until(task, status="failed")
        assert failed["error"] == "its daemon host-m1 has been away for more than 20 s"
        await crew.until(other, status="failed")
        again = await crew.daemon()
        again.seq = daemon.seq
        await again.beat(task)
        found = await crew.until(task, status="running", error="")
        assert [each["status"] for each in found["attempts"]] == ["running"]
        await crew.until(other, status="pending")
        await again.ends(task)
        await crew.until(task, status="done")


async def test_a_task_that_may_be_tried_again_goes_to_another_daemon(tmp_path: Path) -> None:
    async with team(tmp_path, clock=QuickClock(), grace_s=20) as crew:
        lost = await crew.daemon(machine="m1")
        task = await running(crew, lost, maxAttempts=2)
        other = await crew.daemon(machine="m2")
        lost.wire.cut()
        order = await other.spawned()
        assert order["taskId"] != task
        assert order["continueFromTaskId"] is None
        back = await crew.daemon(machine="m1")
        back.seq = lost.seq
        await back.beat(task)
        (told,) = await back.wire.heard("interruptTask")
        assert (told["taskId"], told["graceful"]) == (task, False)
        await back.say(TaskComplete(task_id=UUID(task), success=True))
        await back.wire.settled()
        assert (await crew.get(f"/tasks/{task}"))["status"] == "pending"
        await other.runs(order["taskId"])
        await other.ends(order["taskId"])
        assert (await crew.until(task, status="done"))["daemon"]["id"] == str(other.id)


async def test_a_relay_takes_any_number(tmp_path: Path) -> None:
    async with team(tmp_path) as crew:
        relay = await crew.daemon(most=0)
        for _ in range(8):
            await crew.create()
        await relay.spawned(8)
        (there,) = (await crew.get("/daemons"))["items"]
        assert (there["relay"], there["activeTasks"]) == (True, 8)


async def test_a_heartbeat_is_kept_as_load(tmp_path: Path) -> None:
    async with team(tmp_path) as crew:
        daemon = await crew.daemon(most=3)
        await daemon.beat(uuid4(), uuid4())
        samples = (await crew.get(f"/daemons/{daemon.id}/load"))["items"]
        assert [(each["active"], each["most"]) for each in samples] == [(2, 3)]
        missing = await crew.call("GET", f"/daemons/{uuid4()}/load")
        assert missing.status == 404


async def test_a_daemon_with_a_revoked_key_is_sent_away(tmp_path: Path) -> None:
    async with team(tmp_path) as crew:
        daemon = await crew.daemon()
        async with keyring_at(crew.database, clock=SystemClock()) as keys:
            for each in await keys.keys():
                await keys.revoke(each.name)
        await daemon.wire.say(Heartbeat(active_tasks=()))
        _, why = await daemon.wire.over()
        assert "revoked" in why


@pytest.mark.parametrize("text", ["{", "[]", '{"type":"spawnTask"}', '{"type":"no"}', "\u0000"])
async def test_a_frame_that_is_no_message_ends_nothing(tmp_path: Path, text: str) -> None:
    async with team(tmp_path) as crew:
        daemon = await crew.daemon()
        await daemon.wire.say(text)
        (told,) = await daemon.wire.heard("error")
        assert told["code"] == "bad_message"
        await running(crew, daemon)


async def test_nothing_that_was_said_for_good_is_lost_by_a_kill(tmp_path: Path) -> None:
    """A server is killed while daemons talk; what it said it has, the next one has, too."""
    import signal
    import subprocess
    import sys

    program = (
        "import asyncio, pathlib, sys\n"
        "from tests.unit.makima.server.stage import team\n"
        "async def main():\n"
        "    async with team(pathlib.Path(sys.argv[1])) as crew:\n"
        "        print(crew.base, crew.user_key, crew.daemon_key, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    said = 0
    task = ""
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            base, user, key = (await asyncio.to_thread(server.stdout.readline)).split()
            said, task = await _talked(tmp_path, base, user, key, said, task)
            server.send_signal(signal.SIGKILL)
    async with team(tmp_path) as crew:
        items = []
        page = await crew.get(f"/tasks/{task}/output", limit=500)
        while page["items"]:
            items += page["items"]
            page = await crew.get(f"/tasks/{task}/output", limit=500, after=page["next"])
        numbers = [int(each["text"]) for each in items]
        assert numbers[: said + 1] == list(range(said + 1))
        assert numbers == list(range(len(numbers)))


async def _talked(
    directory: Path, base: str, user: str, key: str, said: int, task: str
) -> tuple[int, str]:
    """Talk for a while; gives the last number that the server has for sure, and the task."""
    from contextlib import AsyncExitStack

    import aiohttp

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(aiohttp.ClientSession())
        crew = Team(base, user, key, client, directory / "server.db", stack, stack.aclose)
        daemon = await crew.daemon()
        if not task:
            task = (await crew.create())["id"]
            await daemon.spawned()
        (welcome,) = daemon.wire.of("authenticated")
        daemon.seq = welcome["lastSeq"]
        number = daemon.seq  # one line for each number
        for _ in range(20):
            for _ in range(10):
                await daemon.prints(task, str(number))
                number += 1
            await daemon.wire.settled()
            said = number - 1
        for _ in range(30):  # and these are cut off somewhere
            await daemon.prints(task, str(number))
            number += 1
        return said, task
