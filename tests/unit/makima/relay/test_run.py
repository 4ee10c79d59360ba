from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest

from tachikoma.host.clock import SystemClock, attempts
from tachikoma.makima.commands import (
    InterruptTask,
    MergeStart,
    PauseTask,
    ResumeTask,
    SendMessage,
    SpawnTask,
)
from tachikoma.makima.messages import MergeResult, TaskComplete, TaskOutput
from tachikoma.makima.peer import GOING_AWAY, REPLACED, Limits
from tachikoma.model.errors_fleet import BookError, MakimaError
from tests.doubles.makima_daemon import wire_daemon
from tests.doubles.makima_relay import (
    QuickClock,
    Running,
    World,
    daemon,
    hello,
    lasting_daemon,
    order,
    world,
)

pytestmark = pytest.mark.live

ONE, TWO = UUID(int=1), UUID(int=2)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


def output(task: UUID, text: str) -> TaskOutput:
    return TaskOutput(task_id=task, output=text, is_partial=False)


async def test_the_relay_is_to_its_server_a_daemon_that_takes_no_tasks_itself(
    here: World,
) -> None:
    async with here.relay():
        (hello,) = await here.server.said("authenticate")
        assert hello["hostname"] == "edge"
        assert hello["maxConcurrentTasks"] == 0
        (directories,) = await here.server.said("daemonDirectories")
        assert directories["homeDirectory"] == "~/.makima/home"


async def test_a_task_goes_to_a_daemon_and_all_about_it_comes_back_in_order(here: World) -> None:
    async with here.relay() as relay, daemon(relay.url, "m") as worker:
        await here.send(order(1, plan="Say hello"))
        (spawned,) = await worker.heard("spawnTask")
        assert (spawned["taskId"], spawned["plan"]) == (str(ONE), "Say hello")
        for text in "abc":
            await worker.say(output(ONE, text))
        await worker.say(TaskComplete(task_id=ONE, success=True))
        await here.server.said("taskComplete")
        assert [each.get("output", each["type"]) for each in here.of_task(1)] == [
            "a",
            "b",
            "c",
            "taskComplete",
        ]


async def test_tasks_spread_and_later_commands_follow_them(here: World) -> None:
    async with (
        here.relay() as relay,
        daemon(relay.url, "left") as left,
        daemon(relay.url, "right") as right,
    ):
        await here.send(order(1), order(2))
        (first,) = await left.heard("spawnTask")
        (second,) = await right.heard("spawnTask")
        assert [first["taskId"], second["taskId"]] == [str(ONE), str(TWO)]
        await here.send(
            PauseTask(task_id=TWO),
            SendMessage(task_id=ONE, message="hi"),
            ResumeTask(task_id=TWO),
            MergeStart(task_id=ONE, source_branch="b"),
        )
        await left.heard("mergeStart")
        await right.heard("resumeTask")
        assert [each.type for each in left.commands()] == ["spawnTask", "sendMessage", "mergeStart"]
        assert [each.type for each in right.commands()] == ["spawnTask", "pauseTask", "resumeTask"]
        await left.say(MergeResult(task_id=ONE, success=True, message="merged"))
        (answer,) = await here.server.said("mergeResult")
        assert answer["message"] == "merged"


async def test_a_task_for_which_nobody_has_room_waits_with_all_its_commands(here: World) -> None:
    async with here.relay() as relay:
        await here.send(order(1), order(2), SendMessage(task_id=TWO, message="first"))
        await here.send(SendMessage(task_id=TWO, message="second"))
        async with daemon(relay.url, "m", most=1) as worker:
            await worker.heard("spawnTask")
            await worker.settled()
            assert [each.type for each in worker.commands()] == ["spawnTask"]
            await worker.say(TaskComplete(task_id=ONE, success=True))
            await worker.heard("sendMessage", 2)
            told = [each.get("taskName", each.get("message")) for each in worker.frames[1:]]
            assert told == ["task 1", "task 2", "first", "second"]


async def test_a_task_interrupted_while_it_waits_ends_without_a_daemon(here: World) -> None:
    async with here.relay() as relay:
        await here.send(order(1), InterruptTask(task_id=ONE, graceful=True))
        (end,) = await here.server.said("taskComplete")
        assert (end["success"], "interrupted" in end["error"]) == (False, True)
        async with daemon(relay.url, "m") as worker:
            await here.send(order(2))
            await worker.heard("spawnTask")
            assert [each["taskName"] for each in worker.of("spawnTask")] == ["task 2"]


async def test_a_daemon_that_comes_back_in_time_gets_what_it_missed_and_goes_on(
    here: World,
) -> None:
    async with here.relay() as relay:
        async with daemon(relay.url, "m") as worker:
            await here.send(order(1))
            await worker.heard("spawnTask")
            await worker.settled()
            await worker.settled()
        await here.send(SendMessage(task_id=ONE, message="are you there?"))
        async with daemon(relay.url, "m") as worker:
            await worker.heard("sendMessage")
            await worker.say(TaskComplete(task_id=ONE, success=True))
            await here.server.said("taskComplete")
            assert [each.type for each in worker.commands()] == ["sendMessage"]


async def test_a_daemon_that_does_not_come_back_fails_its_tasks_once_and_is_not_heard_later(
    here: World,
) -> None:
    async with here.relay() as relay:
        async with daemon(relay.url, "m") as worker:
            await here.send(order(1))
            await worker.heard("spawnTask")
        (end,) = await here.server.said("taskComplete")
        assert end["error"] == "the daemon m vanished, and did not come back within 60 s"
        async with daemon(relay.url, "m") as worker:
            await worker.say(output(ONE, "late"))
            await worker.say(TaskComplete(task_id=ONE, success=True))
            await worker.heard("interruptTask")
            await worker.settled()
        assert [each["type"] for each in here.of_task(1)] == ["taskStatusChange", "taskComplete"]


async def test_what_is_said_while_the_server_is_away_is_heard_when_it_is_back_and_only_once(
    here: World, tmp_path: Path
) -> None:
    async with (
        here.relay() as relay,
        lasting_daemon(relay.url, tmp_path, "a", most=2) as one,
        lasting_daemon(relay.url, tmp_path, "b", most=2) as other,
    ):
        await here.send(*(order(number) for number in range(4)))
        await one.got(2)
        await other.got(2)
        mine = {
            worker: [each.task_id for each in worker.done if isinstance(each, SpawnTask)]
            for worker in (one, other)
        }
        for round_ in range(6):
            for worker, held in mine.items():
                for task in held:
                    await worker.book.say(
                        [output(task, f"{round_}.{number}") for number in range(50)]
                    )
            if round_ == 2:
                here.server.daemons[-1].cut()
                here.server.manners.http_status = 503
            if round_ == 4:
                here.server.manners.http_status = 0
        await one.all_heard()
        await other.all_heard()
        await here.server.said("taskOutput", 4 * 300)
        for number in range(4):
            heard = [each["output"] for each in here.of_task(number)]
            assert heard == [f"{round_}.{at}" for round_ in range(6) for at in range(50)]


async def test_a_relay_that_starts_again_goes_on_where_the_last_one_stopped(
    here: World, tmp_path: Path
) -> None:
    async with here.relay() as relay:
        port = relay.endpoint.port
        async with daemon(relay.url, "m", most=1) as worker:
            await here.send(order(1), order(2))
            await worker.heard("spawnTask")
            await worker.settled()
            await worker.settled()
    async with here.relay(port=port) as relay, daemon(relay.url, "m", most=1) as worker:
        await here.send(PauseTask(task_id=ONE))
        await worker.heard("pauseTask")
        await worker.say(TaskComplete(task_id=ONE, success=True))
        (second,) = await worker.heard("spawnTask")
        assert second["taskId"] == str(TWO)


async def test_on_stop_the_server_hears_the_last_words_and_daemons_why_it_ends(
    here: World,
) -> None:
    async with here.relay() as relay, daemon(relay.url, "m") as worker:
        await here.send(order(1))
        await worker.heard("spawnTask")
        await worker.say(TaskComplete(task_id=ONE, success=True))
        relay.stop.set()
        assert await worker.over() == (GOING_AWAY, "this server stops")
        await relay.task
        assert [each["type"] for each in here.of_task(1)] == ["taskComplete"]


async def test_a_second_relay_with_the_same_database_does_not_start(here: World) -> None:
    async with here.relay():
        with pytest.raises(BookError, match="in use by another makima relay"):
            async with here.relay():
                pass


async def test_a_taken_port_is_told_and_nothing_is_left_behind(here: World, tmp_path: Path) -> None:
    async with here.relay() as relay:
        with pytest.raises(MakimaError, match="is taken by another program"):
            async with here.relay(port=relay.endpoint.port, database=tmp_path / "other.db"):
                pass
    async with here.relay():
        pass


async def test_posting_reconnect_makes_a_new_connection(here: World) -> None:
    async with here.relay() as relay, aiohttp.ClientSession() as client:
        await here.server.daemon(1)
        async with client.post(f"{relay.http}/reconnect") as answer:
            assert (answer.status, await answer.json()) == (202, {"status": "reconnecting"})
        await here.server.over(1)
        await here.server.daemon(2)


async def test_after_twenty_attempts_to_reconnect_only_a_request_revives_it(here: World) -> None:
    here.server.manners.http_status = 503
    here.clock = QuickClock(rate=2000)
    async with here.relay() as relay, aiohttp.ClientSession() as client:
        most = 1 + 20  # the first one, and then reconnecting
        await here.server.until(lambda: here.server.upgrades == most, deadline_s=15)
        with pytest.raises(TimeoutError):
            await here.server.until(lambda: here.server.upgrades > most, deadline_s=1)
        here.server.manners.http_status = 0
        async with client.post(f"{relay.http}/reconnect"):
            await here.server.daemon()
        async with client.get(f"{relay.http}/logs") as answer:
            kinds = [each["event"] for each in (await answer.json())["logs"]]
        assert "upstream_given_up" in kinds


async def test_keys_of_tools_pass_through_and_stand_nowhere_afterwards(
    here: World, tmp_path: Path
) -> None:
    secret = "tool-key-0123456789"
    async with here.relay() as relay, daemon(relay.url, "m") as worker:
        await here.send(order(1))
        await worker.heard("spawnTask")
        await worker.say(f'{{"type":"registerToolKey","taskId":"{ONE}","key":"{secret}"}}')
        (told,) = await here.server.said("registerToolKey")
        assert told["key"] == secret
        async with aiohttp.ClientSession() as client:
            for path in ("/status", "/tasks", "/logs", "/metrics"):
                async with client.get(f"{relay.http}{path}") as answer:
                    assert secret not in await answer.text()
    kept = b"".join(each.read_bytes() for each in tmp_path.glob("relay.db*"))
    assert secret.encode() not in kept
    await asyncio.sleep(0)


async def test_a_slow_reader_is_cut_off_holds_nobody_up_and_gets_what_it_missed_when_it_is_back(
    here: World,
) -> None:
    limits = Limits(queue_bytes=2_000_000, stuck_s=50)
    async with here.relay(limits=limits) as relay:
        async with daemon(relay.url, "slow") as slow:
            await here.send(order(1))
            await slow.heard("spawnTask")
            await slow.settled()
            await slow.settled()
        async with wire_daemon(relay.url, reads=False) as slow:
            await slow.say(hello("slow"))
            async with daemon(relay.url, "quick") as quick:
                big = "x" * 500_000
                await here.send(
                    *(SendMessage(task_id=ONE, message=f"{number} {big}") for number in range(30))
                )
                for number in range(2, 10):
                    await here.send(order(number))
                await quick.heard("spawnTask")
                await until_logged(relay, "daemon_disconnected", 2)
        async with daemon(relay.url, "slow") as again:
            missed = await again.heard("sendMessage", 30)
            assert [int(each["message"].split()[0]) for each in missed] == list(range(30))


async def test_of_two_daemons_that_say_to_be_the_same_the_newer_is_heard(here: World) -> None:
    async with here.relay() as relay, daemon(relay.url, "m") as old:
        await here.send(order(1))
        await old.heard("spawnTask")
        await old.settled()
        await old.settled()
        await old.say(output(ONE, "from the old one"))
        async with daemon(relay.url, "m") as new:
            assert (await old.over())[0] == REPLACED
            await new.say(output(ONE, "from the new one"))
            await here.send(PauseTask(task_id=ONE))
            await new.heard("pauseTask")
            told = await here.server.said("taskOutput", 2)
            assert [each["output"] for each in told] == ["from the old one", "from the new one"]
            assert new.of("spawnTask") == []


async def test_while_very_much_waits_for_the_server_daemons_have_to_wait_and_nothing_is_lost(
    here: World, tmp_path: Path
) -> None:
    here.server.manners.http_status = 503
    async with (
        here.relay(most_bytes=100_000) as relay,
        lasting_daemon(relay.url, tmp_path, "a") as worker,
    ):
        line = "x" * 1000
        await worker.book.say([output(ONE, f"{number} {line}") for number in range(3000)])
        await until_logged(relay, "adopted", 1)
        waiting = await worker.book.waiting(0, most_bytes=10**9)
        assert waiting, "not all of it fits into the relay"
        here.server.manners.http_status = 0
        told = await here.server.said("taskOutput", 3000, deadline_s=20)
        assert [int(each["output"].split()[0]) for each in told] == list(range(3000))


async def until_logged(relay: Running, kind: str, count: int) -> None:
    async with aiohttp.ClientSession() as client:
        async for left in attempts(SystemClock(), deadline_s=10):
            async with client.get(f"{relay.http}/logs?limit=200") as answer:
                kinds = [each["event"] for each in (await answer.json())["logs"]]
            assert left, kinds
            if kinds.count(kind) >= count:
                return
