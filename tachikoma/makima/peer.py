"""One daemon that was let in: what it says, what it is told, and when that has to end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import aiohttp
from aiohttp import web

from tachikoma.host.clock import Clock
from tachikoma.makima.commands import Command
from tachikoma.makima.messages import Authenticate, Message
from tachikoma.makima.patience import Bucket
from tachikoma.makima.window import Window
from tachikoma.makima.wire import BadFrame, decode_message, encode, seq_of
from tachikoma.model.errors import TachikomaError

UNAUTHORIZED = 4401
REPLACED = 4409
TOO_FAST = 4429
SLOW = 4408
GOING_AWAY = int(aiohttp.WSCloseCode.GOING_AWAY)
BROKEN = int(aiohttp.WSCloseCode.INTERNAL_ERROR)
POLICY = int(aiohttp.WSCloseCode.POLICY_VIOLATION)
LATER = int(aiohttp.WSCloseCode.TRY_AGAIN_LATER)

CLOSE_S = 2.0
_LONGEST_REASON = 120
_PINGS = 64
_SHORTEST_PAUSE_S = 0.02
_FRAME_COSTS_BYTES = 16 * 1024

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one daemon may do. Bytes are of frames, or of what waits to be sent.

    A frame counts as one, and as one more for each 16 KiB in it. A daemon that goes on to say more
    than ``frames_a_second`` is read more slowly; after ``flood_s`` of that its connection ends.
    """

    authenticate_s: float = 10.0
    first_frame_bytes: int = 64 * 1024
    frame_bytes: int = 64 * 1024 * 1024
    inbox_frames: int = 512
    inbox_bytes: int = 1024 * 1024
    queue_frames: int = 8192
    queue_bytes: int = 64 * 1024 * 1024
    stuck_s: float = 30.0
    frames_a_second: float = 5000.0
    frames_at_once: float = 20000.0
    flood_s: float = 60.0
    bad_frames_a_second: float = 2.0
    bad_frames_at_once: float = 100.0
    ping_s: float = 25.0
    silent_s: float = 75.0
    connections: int = 4096
    closing_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What a daemon said; ``seq`` is its number, if it has one."""

    message: Message
    seq: int | None


class Listener(Protocol):
    """Who is told what a daemon says."""

    @property
    def full(self) -> bool:
        """Whether so much is kept already that nothing more should be read."""
        ...

    async def room(self) -> None:
        """Wait while it is full."""
        ...

    async def heard(self, peer: Peer, said: Sequence[Heard]) -> None:
        """Take what ``peer`` said, in its order. When this returns it is kept for good: then the
        daemon is told so, and forgets it.

        Raises:
            TachikomaError: it was not kept. The connection ends, and the daemon says it again.
        """
        ...

    def delivered(self, peer: Peer, mark: int) -> None:
        """Note that ``peer`` has read everything up to what was sent with ``mark``."""
        ...


class Peer:
    """A daemon's connection from `Authenticated` to its end.

    What it says is handled in order, in batches, and while that takes long it is read no further.
    Pings are answered behind what came before them is kept. What it is told waits in a bounded
    queue: sending never waits, and a daemon that does not read is cut off.
    """

    def __init__(  # noqa: PLR0913 - what meets in a connection
        self,
        *,
        channel: web.WebSocketResponse,
        cut: Callable[[], None],
        said: Authenticate,
        id: UUID,  # noqa: A002 - it is the daemon's
        last_seq: int | None,
        address: str,
        limits: Limits,
        clock: Clock,
        listener: Listener,
    ) -> None:
        self.id = id
        self.machine_id = said.machine_id
        self.hostname = said.hostname
        self.most_tasks = max(said.max_concurrent_tasks, 0)
        self.address = address
        self.since = clock.monotonic()
        self.reason = ""
        """Why the connection ends or has ended, once that is known."""
        self.bad_frames = 0
        self.repeats = 0
        self.gone = asyncio.Event()
        """Set when nothing more comes of it."""
        self._channel = channel
        self._cut = cut
        self._last_seq = last_seq
        self._limits = limits
        self._clock = clock
        self._listener = listener
        self._bucket = Bucket(
            rate=limits.frames_a_second, burst=limits.frames_at_once, now=self.since
        )
        self._bad = Bucket(
            rate=limits.bad_frames_a_second, burst=limits.bad_frames_at_once, now=self.since
        )
        self._inbox: list[tuple[aiohttp.WSMsgType, bytes]] = []
        self._inbox_bytes = 0
        self._some = asyncio.Event()
        self._space = asyncio.Event()
        self._ended = asyncio.Event()
        self._closing = False
        self._all_read = False
        self._heard_at = self.since
        self._reading = False
        self._queue: deque[tuple[str, int]] = deque()
        self._queue_bytes = 0
        self._wake = asyncio.Event()
        self._emptied = asyncio.Event()
        self._mark = 0
        self._pinged_mark = 0
        self._ping_due = False
        self._pinged_at = self.since
        self._stuck_since: float | None = None
        self._window = Window(most=_PINGS)

    @property
    def closing(self) -> bool:
        """Whether it ends: nothing more is said to it."""
        return self._closing

    def send(self, command: Command | str, *, mark: int = 0) -> None:
        """Tell it something, behind all that was said before; does nothing if it ends.

        ``mark`` is higher than that of everything sent before; the listener hears of it when the
        daemon has read so far.
        """
        if self._closing:
            return
        text = command if isinstance(command, str) else encode(command)
        self._queue.append((text, mark))
        self._queue_bytes += len(text)
        limits = self._limits
        if len(self._queue) > limits.queue_frames or self._queue_bytes > limits.queue_bytes:
            self.cut(f"it does not read: {len(self._queue)} frames wait for it")
            return
        self._emptied.clear()
        self._wake.set()

    async def drained(self) -> None:
        """Wait until all that was sent is on its way, or it ends."""
        while self._queue and not self._closing:
            self._emptied.clear()
            await self._emptied.wait()

    def cut(self, reason: str) -> None:
        """End it at once."""
        self._end(reason)
        self._cut()

    async def close(self, code: int, reason: str) -> None:
        """Say what is left to be said, if that is quick, and end it in good order.

        What it has said by then is handled all the same.
        """
        if self._closing:
            return
        self._end(reason)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                while self._queue and not self.gone.is_set():
                    self._emptied.clear()
                    await self._emptied.wait()
                words = reason.encode()[:_LONGEST_REASON]
                await self._channel.close(code=code, message=words)
                return
        self._cut()

    def check(self) -> None:
        """End it if it is dead or stuck; ask it whether it lives if it is quiet. To be called each
        second or so.
        """
        now, limits = self._clock.monotonic(), self._limits
        if self._stuck_since is not None and now - self._stuck_since > limits.stuck_s:
            self.cut(f"it has not read for {limits.stuck_s:.0f} s")
        elif self._reading and now - self._heard_at > limits.silent_s:
            self.cut(f"nothing was heard for {limits.silent_s:.0f} s")
        elif now - self._heard_at > limits.ping_s and now - self._pinged_at > limits.ping_s:
            self._ping_due = True
            self._wake.set()

    async def run(self) -> None:
        """Stay while it lasts.

        Raises:
            ExceptionGroup: of what the listener failed with.
        """
        try:
            async with asyncio.TaskGroup() as group:
                writing = group.create_task(self._write(), name=f"to daemon {self.id}")
                working = group.create_task(self._work(), name=f"from daemon {self.id}")
                try:
                    await self._listen()
                    self._all_read = True
                    self._end(self.reason)
                    await asyncio.wait({working})
                finally:
                    writing.cancel()
        finally:
            self._end(self.reason or "a fault here")
            self._cut()

    def _end(self, reason: str) -> None:
        self.reason = self.reason or reason
        self._closing = True
        self._ended.set()
        self._some.set()
        self._space.set()
        self._emptied.set()

    # What it says

    async def _listen(self) -> None:
        while True:
            await self._until_room()
            self._reading = True
            self._heard_at = max(self._heard_at, self._clock.monotonic())
            message = await self._channel.receive()
            self._reading = False
            self._heard_at = now = self._clock.monotonic()
            match message.type:
                case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY | aiohttp.WSMsgType.PING:
                    self._take(message.type, message.data)
                    await self._slow_down(1 + len(message.data) / _FRAME_COSTS_BYTES, now)
                case aiohttp.WSMsgType.PONG:
                    self._window.pong(message.data)
                    if self._window.delivered:
                        self._listener.delivered(self, self._window.delivered)
                    self._wake.set()
                case _:
                    self.reason = self.reason or self._said_at_the_end(message)
                    return

    def _take(self, kind: aiohttp.WSMsgType, data: bytes) -> None:
        self._inbox.append((kind, data))
        self._inbox_bytes += len(data)
        self._some.set()

    async def _until_room(self) -> None:
        limits = self._limits
        while not self._closing and (
            len(self._inbox) >= limits.inbox_frames or self._inbox_bytes >= limits.inbox_bytes
        ):
            self._space.clear()
            await self._space.wait()
        while self._listener.full and not self._closing:
            await self._or_ended(self._listener.room())

    async def _slow_down(self, cost: float, now: float) -> None:
        wait_s = self._bucket.take(cost, now)
        if wait_s < _SHORTEST_PAUSE_S or self._closing:
            return
        if self._bucket.short_for(now) > self._limits.flood_s:
            most, longest = self._limits.frames_a_second, self._limits.flood_s
            await self.close(TOO_FAST, f"more than {most:.0f} frames a second for {longest:.0f} s")
            return
        await self._or_ended(self._clock.sleep(wait_s))

    async def _or_ended(self, work: Coroutine[None, None, None]) -> None:
        """Wait for ``work``, unless the connection ends before."""
        loop = asyncio.get_running_loop()
        both = {
            loop.create_task(work, name=f"pause of daemon {self.id}"),
            loop.create_task(_until(self._ended), name=f"end of daemon {self.id}"),
        }
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in both:
                each.cancel()

    def _said_at_the_end(self, message: aiohttp.WSMessage) -> str:
        if message.type is aiohttp.WSMsgType.ERROR:
            return f"it broke the protocol: {message.data or self._channel.exception()}"
        code = self._channel.close_code
        if code in {None, aiohttp.WSCloseCode.ABNORMAL_CLOSURE}:
            return "the connection broke off"
        return f"it closed the connection ({code})"

    async def _work(self) -> None:
        while True:
            if self._inbox:
                taken, self._inbox, self._inbox_bytes = self._inbox, [], 0
                self._space.set()
                if not await self._kept(taken):
                    return
            elif self._all_read:
                return
            else:
                self._some.clear()
                await self._some.wait()

    async def _kept(self, taken: Sequence[tuple[aiohttp.WSMsgType, bytes]]) -> bool:
        """Handle what came; tell whether what comes next may be handled, too."""
        try:
            await self._handle(taken)
        except TachikomaError as error:
            _log.error("what daemon %s said was not kept: %s", self.id, error.message)
            self.cut("what it said could not be kept")
            return False
        return True

    async def _handle(self, taken: Sequence[tuple[aiohttp.WSMsgType, bytes]]) -> None:
        said, ping = [], None
        for kind, data in taken:
            if kind is aiohttp.WSMsgType.PING:
                ping = data
                continue
            heard = self._read(kind, data)
            if isinstance(heard, BadFrame):
                await self._answer(heard)
            elif heard is not None:
                said.append(heard)
        if said:
            await self._listener.heard(self, said)
        if ping is not None and not self._channel.closed:
            # An answer to the last of several is one to all (RFC 6455, 5.5.3).
            with contextlib.suppress(ConnectionError):
                await self._channel.pong(ping)

    def _read(self, kind: aiohttp.WSMsgType, data: bytes) -> Heard | BadFrame | None:
        """Read a frame; None if it was there before."""
        text = _text(kind, data, self._limits.frame_bytes)
        if isinstance(text, BadFrame):
            return text
        message = decode_message(text)
        if isinstance(message, BadFrame):
            return message
        if isinstance(message, Authenticate):
            return BadFrame("`authenticate` comes once, as the first frame")
        seq = seq_of(text)
        if isinstance(seq, BadFrame):
            return seq
        if seq is not None and self._last_seq is not None:
            if seq <= self._last_seq:
                self.repeats += 1
                return None
            self._last_seq = seq
        return Heard(message, seq)

    async def _answer(self, bad: BadFrame) -> None:
        self.bad_frames += 1
        self.send(bad.answer())
        if self._bad.take(1, self._clock.monotonic()) > 0:
            await self.close(POLICY, "too many frames that cannot be read")

    # What it is told

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    text, mark = self._queue[0]
                    self._stuck_since = self._clock.monotonic()
                    await self._channel.send_str(text)
                    self._stuck_since = None
                    self._queue.popleft()
                    self._queue_bytes -= len(text)
                    self._mark = max(self._mark, mark)
                self._emptied.set()
                await self._ping()
        self._emptied.set()

    async def _ping(self) -> None:
        """Ask whether it has read so far."""
        if self._window.full or not (self._ping_due or self._mark > self._pinged_mark):
            return
        self._ping_due = False
        self._pinged_mark = self._mark
        self._pinged_at = self._clock.monotonic()
        await self._channel.ping(self._window.ping(self._mark))


async def _until(event: asyncio.Event) -> None:
    await event.wait()


def _text(kind: aiohttp.WSMsgType, data: bytes, most: int) -> str | BadFrame:
    if kind is aiohttp.WSMsgType.BINARY:
        return BadFrame(f"{len(data)} bytes that are no text")
    if len(data) > most:
        return BadFrame(f"{len(data)} bytes, of which at most {most} are read")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return BadFrame("this is no UTF-8")
