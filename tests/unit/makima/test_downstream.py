from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import aiohttp
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tachikoma.host.clock import SystemClock, attempts
from tachikoma.makima.commands import PauseTask
from tachikoma.makima.downstream import Downstream, Welcome
from tachikoma.makima.messages import Authenticate, Heartbeat, Message, TaskOutput
from tachikoma.makima.patience import MOST_WAITING
from tachikoma.makima.peer import (
    GOING_AWAY,
    POLICY,
    REPLACED,
    TOO_FAST,
    UNAUTHORIZED,
    Heard,
    Limits,
    Peer,
)
from tachikoma.model.errors_fleet import BookError
from tests.doubles.makima_daemon import wire_daemon

pytestmark = pytest.mark.live

TASK = UUID("550e8400-e29b-41d4-a716-446655440000")
KEY = "right"


class QuickClock(SystemClock):  # a hundred seconds in one
    def monotonic(self) -> float:
        return super().monotonic() * 100

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 100)


@dataclass
class Notes:
    """Whose daemons they are, and what came of them."""

    said: list[tuple[str, Heard]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    last: dict[str, int] = field(default_factory=dict)
    counts: bool = True
    welcomes: bool = True
    free: asyncio.Event = field(default_factory=asyncio.Event)
    roomy: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.free.set()
        self.roomy.set()

    @property
    def full(self) -> bool:
        return not self.roomy.is_set()

    async def room(self) -> None:
        await self.roomy.wait()

    async def lets_in(self, said: Authenticate) -> bool:
        return said.api_key == KEY

    async def welcome(self, said: Authenticate) -> Welcome:
        if not self.welcomes:
            raise BookError("the book is on fire", hint="put it out")
        return Welcome(uuid4(), self.last.get(said.machine_id, 0) if self.counts else None)

    async def arrived(self, peer: Peer) -> None:
        self.events.append(f"{peer.machine_id} came")

    async def left(self, peer: Peer) -> None:
        self.events.append(f"{peer.machine_id} left: {peer.reason}")

    def turned_away(self, address: str, why: str) -> None:
        self.events.append(f"{address} turned away: {why}")

    async def heard(self, peer: Peer, said: Sequence[Heard]) -> None:
        await self.free.wait()
        for each in said:
            if isinstance(each.message, TaskOutput) and each.message.output == "unkept":
                raise BookError("the disk is gone", hint="")
            self.said.append((peer.machine_id, each))
            if each.seq is not None:
                self.last[peer.machine_id] = each.seq

    def delivered(self, peer: Peer, mark: int) -> None:
        self.marks.append(mark)

    async def until(self, true: Callable[[], object]) -> None:
        async for left in attempts(SystemClock(), deadline_s=10, first_s=0.002, most_s=0.02):
            assert left, f"it did not come to that; {self.events}"
            if true():
                return

    async def event(self, event: str) -> None:
        await self.until(lambda: event in self.events)

    def outputs(self) -> list[str]:
        return [
            each.message.output for _, each in self.said if isinstance(each.message, TaskOutput)
        ]


@dataclass
class Site:
    """A server with nothing but the path for daemons."""

    host: Notes
    downstream: Downstream
    url: str


@asynccontextmanager
async def serving(limits: Limits | None = None) -> AsyncIterator[Site]:
    host = Notes()
    downstream = Downstream(host=host, clock=QuickClock(), limits=limits)
    app = web.Application()
    app.router.add_get("/ws/daemon", downstream.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with downstream:
            yield Site(host, downstream, f"ws://127.0.0.1:{runner.addresses[0][1]}/ws/daemon")
    finally:
        await runner.cleanup()


def output(text: str, *, task: UUID = TASK) -> TaskOutput:
    return TaskOutput(task_id=task, output=text, is_partial=False)


def authenticate(key: str = KEY, machine: str = "m") -> Authenticate:
    return Authenticate(api_key=key, machine_id=machine, hostname="w", max_concurrent_tasks=2)


async def test_a_daemon_with_the_right_key_is_let_in_and_heard() -> None:
    async with serving() as site, wire_daemon(site.url) as daemon:
        given = await daemon.authenticate(KEY, "m", most=3)
        await daemon.say(output("one"))
        await daemon.settled()
        (peer,) = site.downstream.peers.values()
        assert (peer.id, peer.machine_id, peer.most_tasks) == (given, "m", 3)
        assert site.host.said == [("m", Heard(output("one"), None))]
    assert site.host.events == ["m came", "m left: it closed the connection (1000)"]


async def test_a_wrong_key_is_told_so_and_the_connection_is_closed() -> None:
    async with serving() as site, wire_daemon(site.url) as daemon:
        await daemon.say(authenticate("wrong"))
        assert await daemon.over() == (UNAUTHORIZED, "unauthorized")
        assert [each["code"] for each in daemon.frames] == ["unauthorized"]
        assert site.host.events == ["127.0.0.1 turned away: its key is wrong"]
        assert not site.downstream.peers


@pytest.mark.parametrize(
    "first",
    [
        Heartbeat(active_tasks=()),
        "no JSON",
        b"bytes",
        '{"type":"authenticate"}',
        '{"type":"authenticate","apiKey":"right","machineId":"","hostname":"h","maxConcurrentTasks":1}',
    ],
)
async def test_who_begins_with_anything_else_is_not_let_in(first: Message | str | bytes) -> None:
    async with serving() as site, wire_daemon(site.url) as daemon:
        await daemon.say(first)
        assert (await daemon.over())[0] == UNAUTHORIZED
        assert [each["code"] for each in daemon.frames] == ["bad_message"]
        assert not site.host.said


async def test_who_says_nothing_is_not_waited_for_for_long() -> None:
    async with serving(Limits(authenticate_s=0.05)) as site, wire_daemon(site.url) as daemon:
        assert (await daemon.over())[0] == UNAUTHORIZED
        assert [each["code"] for each in daemon.frames] == ["timeout"]


async def test_before_it_has_shown_a_key_nobody_gets_much_memory() -> None:
    async with serving() as site, wire_daemon(site.url) as daemon:
        await daemon.say(authenticate("x" * 1_000_000))
        await daemon.over()
        assert daemon.frames == []
        assert site.host.events == ["127.0.0.1 turned away: it left before it said who it is"]


async def test_who_tries_many_keys_is_answered_ever_more_slowly_and_at_last_not_heard() -> None:
    async with serving() as site, AsyncExitStack() as open_ones:
        site.downstream._clock = SystemClock()
        answered = 3
        for guess in range(answered + MOST_WAITING):
            guesser = await open_ones.enter_async_context(wire_daemon(site.url))
            await guesser.say(authenticate("guess"))
            if guess < answered:
                await guesser.over()
        await site.host.until(lambda: len(site.host.events) == answered + MOST_WAITING)
        with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
            await open_ones.enter_async_context(wire_daemon(site.url))


async def test_a_frame_that_cannot_be_read_is_answered_counted_and_closes_nothing() -> None:
    async with serving() as site, wire_daemon(site.url) as daemon:
        await daemon.authenticate(KEY, "m")
        bad: list[str | bytes] = [
            "{",
            "[]",
            '{"type":"nonsense"}',
            b"\x00",
            '{"type":"heartbeat","activeTasks":5}',
        ]
        for each in bad:
            await daemon.say(each)
        await daemon.channel.send_frame(b"\xff\xfe", aiohttp.WSMsgType.TEXT)
        await daemon.say(authenticate())
        await daemon.say(output("still here"))
        errors = await daemon.heard("error", len(bad) + 2)
        assert {each["code"] for each in errors} == {"bad_message"}
        await daemon.settled()
        assert site.host.outputs() == ["still here"]
        assert site.downstream.peers["m"].bad_frames == len(bad) + 2


async def test_a_frame_that_is_too_big_is_answered_and_closes_nothing() -> None:
    limits = Limits(frame_bytes=100_000)
    async with serving(limits) as site, wire_daemon(site.url) as daemon:
        await daemon.authenticate(KEY, "m")
        await daemon.say(output("x" * 120_000))
        await daemon.say(output("small"))
        (error,) = await daemon.heard("error")
        assert "at most 100000 are read" in error["message"]
        await daemon.settled()
        assert site.host.outputs() == ["small"]


async def test_a_frame_beyond_all_measure_ends_the_connection() -> None:
    limits = Limits(frame_bytes=100_000)
    async with serving(limits) as site, wire_daemon(site.url) as daemon:
        await daemon.authenticate(KEY, "m")
        await daemon.say(output("x" * 300_000))
        assert (await daemon.over())[0] == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_nothing_but_rubbish_ends_the_connection_in_the_end() -> None:
    limits = Limits(bad_frames_at_once=5, bad_frames_a_second=0.001)
    async with serving(limits) as site, wire_daemon(site.url) as daemon:
        await daemon.authenticate(KEY, "m")
        for _ in range(7):
            await daemon.say("rubbish")
        assert await daemon.over() == (POLICY, "too many frames that cannot be read")


async def test_who_talks_too_fast_is_read_more_slowly_and_then_closed_with_the_reason() -> None:
    limits = Limits(frames_a_second=2, frames_at_once=20, flood_s=20)
    async with serving(limits) as site, wire_daemon(site.url) as daemon:
        await daemon.authenticate(KEY, "m")
        for number in range(200):
            await daemon.say(output(str(number)))
        code, why = await daemon.over()
        assert (code, why) == (TOO_FAST, "more than 2 frames a second for 20 s")
        await site.host.event(f"m left: {why}")
        heard = site.host.outputs()
        assert heard == [str(number) for number in range(len(heard))]
        assert 20 <= len(heard) < 100


async def test_of_two_connections_of_a_machine_the_newer_stays_and_nothing_said_is_lost() -> None:
    async with serving() as site, wire_daemon(site.url) as old, wire_daemon(site.url) as new:
        await old.authenticate(KEY, "m")
        site.host.free.clear()
        await old.say(output("last words"), seq=7)
        await old.until(lambda: True)
        waiting = asyncio.get_running_loop().create_task(new.authenticate(KEY, "m"))
        assert (await old.over())[0] == REPLACED
        assert not waiting.done()
        site.host.free.set()
        await waiting
        assert new.frames[0]["lastSeq"] == 7
        assert site.host.events == [
            "m came",
            "m left: a newer connection of the same machine came",
            "m came",
        ]
        assert site.host.outputs() == ["last words"]


async def test_what_was_kept_already_is_not_heard_again() -> None:
    async with serving() as site:
        site.host.last["m"] = 5
        async with wire_daemon(site.url) as daemon:
            await daemon.authenticate(KEY, "m")
            assert daemon.frames[0]["lastSeq"] == 5
            for seq in (4, 5, 6, 6, 9, 7):
                await daemon.say(output(str(seq)), seq=seq)
            await daemon.say(Heartbeat(active_tasks=()))
            await daemon.settled()
        assert site.host.outputs() == ["6", "9"]


async def test_a_ping_is_answered_only_when_what_was_said_before_is_kept() -> None:
    async with serving() as site, wire_daemon(site.url) as daemon:
        await daemon.authenticate(KEY, "m")
        site.host.free.clear()
        await daemon.say(output("one"), seq=1)
        await daemon.channel.ping(b"kept?")
        with pytest.raises(TimeoutError):
            await daemon.until(lambda: daemon.pongs, deadline_s=0.05)
        site.host.free.set()
        await daemon.until(lambda: daemon.pongs == [b"kept?"])


async def test_what_could_not_be_kept_ends_the_connection_unanswered() -> None:
    async with serving() as site, wire_daemon(site.url) as daemon:
        await daemon.authenticate(KEY, "m")
        await daemon.say(output("kept"), seq=1)
        await daemon.settled()
        await daemon.say(output("unkept"), seq=2)
        await daemon.say(output("behind it"), seq=3)
        await daemon.over()
        await site.host.event("m left: what it said could not be kept")
        assert site.host.outputs() == ["kept"]
        assert site.host.last == {"m": 1}


async def test_a_server_with_a_fault_says_to_come_back_later() -> None:
    async with serving() as site, wire_daemon(site.url) as daemon:
        site.host.welcomes = False
        await daemon.say(authenticate())
        assert (await daemon.over())[1] == "unavailable"


async def test_while_there_is_no_room_daemons_are_read_no_further() -> None:
    limits = Limits(inbox_frames=8)
    async with serving(limits) as site, wire_daemon(site.url) as daemon:
        await daemon.authenticate(KEY, "m")
        site.host.roomy.clear()
        for number in range(100):
            await daemon.say(output(str(number)))
        with pytest.raises(TimeoutError):
            await daemon.until(lambda: len(site.host.said) > 8, deadline_s=0.05)
        site.host.roomy.set()
        await daemon.settled()
        assert site.host.outputs() == [str(number) for number in range(100)]


async def test_commands_arrive_in_order_and_it_is_known_when_they_have_been_read() -> None:
    async with serving() as site, wire_daemon(site.url) as daemon:
        await daemon.authenticate(KEY, "m")
        peer = site.downstream.peers["m"]
        tasks = [uuid4() for _ in range(50)]
        for mark, task in enumerate(tasks, 1):
            peer.send(PauseTask(task_id=task), mark=mark)
        heard = await daemon.heard("pauseTask", 50)
        assert [UUID(each["taskId"]) for each in heard] == tasks
        await daemon.settled()
        await daemon.settled()
        assert site.host.marks[-1] == 50


async def test_who_answers_no_ping_has_read_nothing_for_sure() -> None:
    async with serving() as site, wire_daemon(site.url, autopong=False) as daemon:
        await daemon.authenticate(KEY, "m")
        site.downstream.peers["m"].send(PauseTask(task_id=TASK), mark=1)
        await daemon.heard("pauseTask")
        await daemon.settled()
        assert site.host.marks == []


async def test_a_daemon_that_does_not_read_is_cut_off_and_holds_nobody_up() -> None:
    limits = Limits(queue_bytes=2_000_000)
    async with (
        serving(limits) as site,
        wire_daemon(site.url) as good,
        wire_daemon(site.url, reads=False) as slow,
    ):
        await good.authenticate(KEY, "good")
        await slow.say(authenticate(machine="slow"))
        await site.host.event("slow came")
        plan = json.dumps({"type": "error", "code": "x", "message": "y" * 100_000})
        for number in range(400):
            if (peer := site.downstream.peers.get("slow")) is not None:
                peer.send(plan)
            site.downstream.peers["good"].send(PauseTask(task_id=UUID(int=number)))
            await asyncio.sleep(0)
        await good.heard("pauseTask", 400)
        await site.host.until(
            lambda: any(each.startswith("slow left: it does not") for each in site.host.events)
        )
        assert "good" in site.downstream.peers


async def test_a_daemon_that_reads_nothing_for_long_is_cut_off_however_little_waits() -> None:
    async with serving(Limits(stuck_s=20)) as site, wire_daemon(site.url, reads=False) as slow:
        await slow.say(authenticate())
        await site.host.event("m came")
        big = json.dumps({"type": "error", "code": "x", "message": "y" * 1_000_000})
        for _ in range(40):
            site.downstream.peers["m"].send(big)
        await site.host.event("m left: it has not read for 20 s")


async def test_a_daemon_of_which_nothing_is_heard_is_asked_and_then_given_up() -> None:
    async with serving() as site, wire_daemon(site.url, autopong=False) as dead:
        await dead.authenticate(KEY, "m")
        await site.host.event("m left: nothing was heard for 75 s")


async def test_a_quiet_daemon_that_answers_pings_stays() -> None:
    limits = Limits(ping_s=5, silent_s=20)
    async with serving(limits) as site, wire_daemon(site.url) as quiet:
        await quiet.authenticate(KEY, "m")
        with pytest.raises(TimeoutError):
            await quiet.until(lambda: quiet.closed_with, deadline_s=0.6)
        assert "m" in site.downstream.peers


async def test_on_stop_daemons_hear_what_was_to_be_said_and_why_it_ends() -> None:
    async with serving() as site, wire_daemon(site.url) as daemon:
        await daemon.authenticate(KEY, "m")
        peer = site.downstream.peers["m"]
        await daemon.say(output("the last"))
        for number in range(100):
            peer.send(PauseTask(task_id=UUID(int=number)))
        await site.downstream.__aexit__(None, None, None)
        assert await daemon.over() == (GOING_AWAY, "this server stops")
        assert len(daemon.of("pauseTask")) == 100
        assert site.host.outputs() == ["the last"]
        assert site.host.events == ["m came", "m left: this server stops"]
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            async with wire_daemon(site.url):
                pass


async def test_a_plain_request_is_told_that_this_is_a_websocket() -> None:
    async with (
        serving() as site,
        aiohttp.ClientSession() as client,
        client.get(site.url.replace("ws:", "http:")) as answer,
    ):
        assert answer.status == 426
        assert (await answer.json())["error"]["code"] == "not_websocket"


async def test_there_is_a_most_of_connections() -> None:
    async with serving(Limits(connections=1)) as site, wire_daemon(site.url) as daemon:
        await daemon.authenticate(KEY, "m")
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            async with wire_daemon(site.url):
                pass


frames = st.one_of(
    st.text(max_size=60),
    st.binary(max_size=60),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["taskOutput", "heartbeat", "taskComplete", "authenticate"]),
            "taskId": st.one_of(st.just(str(TASK)), st.integers(), st.none()),
            "output": st.one_of(st.text(max_size=9), st.integers()),
            "isPartial": st.booleans(),
            "activeTasks": st.lists(st.one_of(st.just(str(TASK)), st.integers()), max_size=3),
            "success": st.one_of(st.booleans(), st.text(max_size=3)),
        },
        optional={"seq": st.one_of(st.integers(), st.text(max_size=3), st.none())},
    ).map(json.dumps),
)


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.lists(frames, max_size=20))
def test_no_frames_whatever_end_a_connection_or_keep_others_from_being_heard(
    said: list[str | bytes],
) -> None:
    async def exchange() -> None:
        async with serving() as site, wire_daemon(site.url) as daemon:
            await daemon.authenticate(KEY, "m")
            for each in said:
                await daemon.say(each)
            await daemon.say(output("the end"))
            await daemon.settled()
            assert site.host.outputs()[-1] == "the end"
            good, bad = len(site.host.said), site.downstream.peers["m"].bad_frames
            repeats = site.downstream.peers["m"].repeats
            assert good + bad + repeats == len(said) + 1
            assert len(await daemon.heard("error", bad)) == bad

    asyncio.run(exchange())
