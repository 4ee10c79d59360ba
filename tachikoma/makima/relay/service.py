"""The relay at work: what both sides say goes over the board and the disk to the other side."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

from tachikoma.host import tasks
from tachikoma.host.clock import Clock
from tachikoma.makima.commands import Command
from tachikoma.makima.downstream import Downstream, Welcome
from tachikoma.makima.messages import Authenticate
from tachikoma.makima.patience import Bucket
from tachikoma.makima.peer import Heard, Limits, Peer
from tachikoma.makima.relay.board import Board
from tachikoma.makima.relay.entries import Batch
from tachikoma.makima.relay.figures import Figures
from tachikoma.makima.relay.settings import RelaySettings
from tachikoma.makima.relay.store import Store
from tachikoma.makima.relay.upstream import Upstream
from tachikoma.makima.session import Identity
from tachikoma.makima.wire import numbered
from tachikoma.model.errors import DiskFullError

LOOKS_EACH_S = 1.0
MOST_UNWRITTEN = 2000
"""Commands of the server that may wait to be written; then it is read no further."""
_FULL_DISK_S = 2.0
_REFUSALS_A_SECOND = 0.2
_REFUSALS_AT_ONCE = 20.0

_log = logging.getLogger(__name__)


class Relay:
    """Between `Upstream` and `Downstream`. Everything that comes is decided by the board, written
    in one transaction with whatever else came meanwhile, and only then passed on or acknowledged.

    The database is `store`'s; if it fails, `run` ends with that error.
    """

    def __init__(
        self,
        *,
        settings: RelaySettings,
        store: Store,
        board: Board,
        clock: Clock,
        figures: Figures,
        limits: Limits | None = None,
    ) -> None:
        self.name = settings.name or f"makima-edge-{store.machine_id[:8]}"
        self.board = board
        self.store = store
        self.figures = figures
        self.healthy = True
        """Whether what was written last was written at once."""
        self.last_heartbeat: float | None = None
        self._keys = [key.encode() for key in settings.daemon_keys]
        self._clock = clock
        self._dirty = asyncio.Event()
        self._written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unwritten = 0
        self._pumps: dict[str, tuple[asyncio.Event, asyncio.Task[None]]] = {}
        self._refusals = Bucket(
            rate=_REFUSALS_A_SECOND, burst=_REFUSALS_AT_ONCE, now=clock.monotonic()
        )
        self.downstream = Downstream(host=self, clock=clock, limits=limits)
        self.upstream = Upstream(
            settings=settings.server,
            outbox=store.outbox,
            clock=clock,
            identity=Identity(store.machine_id, self.name, 0),
            take=self._take,
            kept=self.kept,
            active=self._beat,
            note=self._note,
        )

    @classmethod
    async def taken_up(
        cls,
        settings: RelaySettings,
        store: Store,
        clock: Clock,
        *,
        limits: Limits | None = None,
    ) -> Relay:
        """Go on where a relay before this one stopped."""
        board = Board(await store.known(), now=clock.now, monotonic=clock.monotonic, new_id=uuid4)
        relay = cls(
            settings=settings,
            store=store,
            board=board,
            clock=clock,
            figures=Figures(board),
            limits=limits,
        )
        relay.last_heartbeat = float(await store.value("last_heartbeat") or 0) or None
        return relay

    # For as long as it runs

    async def write_all(self) -> None:
        """Write what is to be written, until cancelled."""
        try:
            while True:
                await self._dirty.wait()
                self._dirty.clear()
                await self._write()
        finally:
            if not self._written.done():
                self._written.cancel()

    async def look(self) -> None:
        """Look at what time has brought, now and again, until cancelled."""
        while True:
            await self._clock.sleep(LOOKS_EACH_S)
            self.board.passed()
            if self.board.changed:
                self._dirty.set()
            self.figures.unsent = await self.store.unsent()
            await self.store.write_back()

    async def _write(self) -> None:
        batch, done = self.board.taken_out(), self._written
        self._written = asyncio.get_running_loop().create_future()
        self._unwritten = 0
        if batch:
            await self._insist(batch)
        if not done.done():
            done.set_result(None)
        for machine in batch.wake:
            if machine in self._pumps:
                self._pumps[machine][0].set()

    async def _insist(self, batch: Batch) -> None:
        """Write ``batch``; with a full disk, again and again: nothing goes on without."""
        while True:
            try:
                with self.figures.writing.time():
                    await self.store.write(batch)
            except DiskFullError as error:
                self.healthy = False
                _log.error("%s; %s", error.message, error.hint)
                await self._clock.sleep(_FULL_DISK_S)
            else:
                self.healthy = True
                return

    async def kept(self) -> None:
        """Wait until all that has come is on disk."""
        written = self._written
        self._dirty.set()
        await asyncio.shield(written)

    # The server's side

    async def _take(self, command: Command) -> None:
        self.board.take(command)
        self._dirty.set()
        self._unwritten += 1
        if self._unwritten > MOST_UNWRITTEN:
            await self.kept()

    def _beat(self) -> Sequence[UUID]:
        self.last_heartbeat = self._clock.now()
        self.board.keep("last_heartbeat", str(self.last_heartbeat))
        self._dirty.set()
        return self.board.active

    def _note(self, kind: str, text: str) -> None:
        self.board.note(kind, text)
        self._dirty.set()

    # The daemons' side, as `downstream.Host`

    @property
    def full(self) -> bool:
        """Whether so much waits for the server that daemons have to wait."""
        return self.store.outbox.full

    async def room(self) -> None:
        """Wait while it is full."""
        await self.store.outbox.room()

    async def lets_in(self, said: Authenticate) -> bool:
        """Compare with every key, whichever fits."""
        given = said.api_key.encode("utf-8", "replace")
        return sum(hmac.compare_digest(given, key) for key in self._keys) > 0

    async def welcome(self, said: Authenticate) -> Welcome:
        """Know the machine again."""
        row = self.board.welcome(said.machine_id, said.hostname)
        await self.kept()
        return Welcome(row.daemon_id, row.last_seq)

    async def arrived(self, peer: Peer) -> None:
        """Give it what waits for it."""
        _log.info("daemon %s of %s is connected", peer.id, peer.hostname)
        wake = asyncio.Event()
        pump = tasks.spawn(self._pump(peer, wake), name=f"commands of daemon {peer.id}")
        self._pumps[peer.machine_id] = (wake, pump)
        self.board.arrived(peer.machine_id, most=peer.most_tasks)
        self._dirty.set()

    async def left(self, peer: Peer) -> None:
        """Its tasks wait for it for a while."""
        _log.info("daemon %s of %s: %s", peer.id, peer.hostname, peer.reason)
        _, pump = self._pumps.pop(peer.machine_id)
        await tasks.end(pump)
        self.figures.gone(peer)
        self.board.left(peer.machine_id, peer.reason)
        self._dirty.set()

    def turned_away(self, address: str, why: str) -> None:
        """Tell it, unless there are very many."""
        self.figures.refused.inc()
        now = self._clock.monotonic()
        if self._refusals.has(1, now):
            self._refusals.take(1, now)
            _log.warning("%s was not let in: %s", address, why)
            self._note("daemon_refused", f"{address}: {why}")

    async def heard(self, peer: Peer, said: Sequence[Heard]) -> None:
        """Pass on what a daemon says, once it is on disk."""
        for each in said:
            self.board.heard(peer.machine_id, each.message, each.seq)
        await self.kept()

    def delivered(self, peer: Peer, mark: int) -> None:
        """Forget the commands that a daemon has read, when next there is something to write."""
        self.board.delivered(peer.machine_id, mark)

    async def _pump(self, peer: Peer, wake: asyncio.Event) -> None:
        """Send what is on disk for this daemon and will be, in order."""
        sent = 0
        while True:
            wake.clear()
            found = await self.store.commands(peer.machine_id, after=sent)
            for sent, text in found:
                peer.send(numbered(text, sent), mark=sent)
            if found:
                await peer.drained()
            else:
                await wake.wait()


def timestamp(at: float) -> str:
    """Write seconds since the epoch as ISO 8601 does, in UTC with milliseconds."""
    told = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return told.replace("+00:00", "Z")
