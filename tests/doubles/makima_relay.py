"""A relay in this process, its server, and daemons of both kinds; all over real WebSockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from tachikoma.host import tasks
from tachikoma.host.clock import Clock, SystemClock, attempts
from tachikoma.makima.book import Book
from tachikoma.makima.commands import Command, SpawnTask
from tachikoma.makima.link import Link
from tachikoma.makima.messages import Authenticate, DaemonDirectories
from tachikoma.makima.peer import Limits
from tachikoma.makima.relay.run import serve
from tachikoma.makima.relay.settings import RelaySettings
from tachikoma.makima.relay.store import MOST_BYTES
from tachikoma.makima.session import Identity
from tachikoma.makima.settings import ServerSettings
from tachikoma.model.vm import Endpoint
from tests.doubles.makima_daemon import WireDaemon, wire_daemon
from tests.doubles.makima_server import Daemon, MakimaServer, Manners

KEY = "daemons-key"
UPSTREAM_KEY = "server-key"
DIRECTORIES = DaemonDirectories(
    working_directory="/work", home_directory="/home/ada", worktrees_directory="/worktrees"
)
Frame = dict[str, Any]


class QuickClock(SystemClock):
    """A hundred seconds in one, for all that the relay waits for."""

    def __init__(self, *, rate: float = 100) -> None:
        self._rate = rate

    def monotonic(self) -> float:
        return super().monotonic() * self._rate

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / self._rate)


def order(number: int, *, plan: str = "Do it") -> SpawnTask:
    return SpawnTask(
        task_id=UUID(int=number),
        plan=plan,
        task_name=f"task {number}",
        depth=0,
        is_orchestrator=False,
    )


@dataclass
class Running:
    """A relay that runs."""

    endpoint: Endpoint
    name: str
    stop: asyncio.Event
    task: asyncio.Task[None]

    @property
    def url(self) -> str:
        return f"ws://{self.endpoint}/ws/daemon"

    @property
    def http(self) -> str:
        return f"http://{self.endpoint}"


@dataclass
class World:
    """A server, a place for the relay's database, and a relay if `relay` was called."""

    server: MakimaServer
    place: Path
    clock: Clock = field(default_factory=QuickClock)

    def settings(self, *, port: int = 0, **changes: Any) -> RelaySettings:
        given: dict[str, Any] = {
            "database": self.place / "relay.db",
            "name": "edge",
            "daemon_keys": (KEY,),
            "port": port,
            "server": ServerSettings(
                url=self.server.url,
                api_key=UPSTREAM_KEY,
                heartbeat_interval_secs=30,
                reconnect_interval_secs=1,
                max_reconnect_attempts=20,
            ),
        }
        return RelaySettings(**(given | changes))

    @asynccontextmanager
    async def relay(
        self,
        *,
        limits: Limits | None = None,
        port: int = 0,
        most_bytes: int = MOST_BYTES,
        **changes: Any,
    ) -> AsyncIterator[Running]:
        stop = asyncio.Event()
        announced: asyncio.Future[tuple[Endpoint, str]] = asyncio.get_running_loop().create_future()
        work = tasks.spawn(
            serve(
                self.settings(port=port, **changes),
                clock=self.clock,
                told_to_stop=stop,
                announce=lambda endpoint, name: announced.set_result((endpoint, name)),
                limits=limits,
                most_bytes=most_bytes,
            ),
            name="relay",
        )
        await asyncio.wait({work, announced}, return_when=asyncio.FIRST_COMPLETED)
        if not announced.done():
            await work
        endpoint, name = announced.result()
        try:
            yield Running(endpoint, name, stop, work)
        finally:
            stop.set()
            await work

    async def upstream(self) -> Daemon:
        """The relay as the server sees it, once it is connected."""
        return await self.server.daemon()

    async def send(self, *commands: Command) -> None:
        relay = await self.upstream()
        for each in commands:
            await relay.send(each)

    def of_task(self, number: int) -> list[Frame]:
        """What the server heard of a task, in order."""
        task = str(UUID(int=number))
        return [frame for frame in self.server.frames if frame.get("taskId") == task]


@asynccontextmanager
async def world(place: Path, *, counts: bool = True) -> AsyncIterator[World]:
    manners = Manners(counts=counts, api_key=UPSTREAM_KEY)
    async with MakimaServer(manners=manners) as server:
        yield World(server, place)


def hello(machine: str, *, most: int = 4) -> Authenticate:
    return Authenticate(
        api_key=KEY, machine_id=machine, hostname=machine, max_concurrent_tasks=most
    )


@asynccontextmanager
async def daemon(url: str, machine: str, *, most: int = 4) -> AsyncIterator[WireDaemon]:
    """A daemon of the wire that has been let in."""
    async with wire_daemon(url) as made:
        await made.authenticate(KEY, machine, most=most, hostname=machine)
        yield made


class LastingDaemon:
    """A real link with a real book: what it says is kept till it is heard."""

    def __init__(self, book: Book, url: str, *, most: int = 4) -> None:
        self.book = book
        self.done: list[Command] = []
        self.active: set[UUID] = set()
        self.link = Link(
            settings=ServerSettings(
                url=url, api_key=KEY, heartbeat_interval_secs=30, reconnect_interval_secs=1
            ),
            book=book,
            clock=QuickClock(),
            identity=Identity(book.machine_id, "lasting", most),
            directories=DIRECTORIES,
            perform=self._note,
            active=lambda: tuple(self.active),
        )

    async def _note(self, command: Command) -> None:
        self.done.append(command)

    async def got(self, count: int) -> list[Command]:
        async for left in attempts(SystemClock(), deadline_s=10, first_s=0.005, most_s=0.05):
            assert left, f"{len(self.done)} of {count} commands came"
            if len(self.done) >= count:
                break
        return self.done

    async def all_heard(self) -> None:
        async for left in attempts(SystemClock(), deadline_s=15, first_s=0.005, most_s=0.05):
            assert left, "all is delivered"
            if not await self.book.waiting(0, most_bytes=1):
                return


@asynccontextmanager
async def lasting_daemon(
    url: str, place: Path, name: str, *, most: int = 4
) -> AsyncIterator[LastingDaemon]:
    async with AsyncExitStack() as stack:
        book = await stack.enter_async_context(Book.at(place / f"{name}.db", clock=SystemClock()))
        made = LastingDaemon(book, url, most=most)
        work = tasks.spawn(made.link.run(), name=f"daemon {name}")
        try:
            yield made
        finally:
            await tasks.end(work)
