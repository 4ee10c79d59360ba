"""The daemons that are connected: what they say is kept, what is wanted of them is said, and tasks
go to those with room.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from types import MappingProxyType, TracebackType
from typing import Self, TypeVar
from uuid import UUID

from tachikoma.host import tasks
from tachikoma.makima.commands import Command, InterruptTask, PauseTask, ResumeTask
from tachikoma.makima.dispatch import Load
from tachikoma.makima.downstream import Downstream, Welcome
from tachikoma.makima.messages import Authenticate, Heartbeat
from tachikoma.makima.peer import GOING_AWAY, Heard, Peer
from tachikoma.makima.server.asking import Questions
from tachikoma.makima.server.changing import Aftermath, Change
from tachikoma.makima.server.course import Found, Order, Vanished
from tachikoma.makima.server.entries import Entry, MachineEntry
from tachikoma.makima.server.hearing import Hearing
from tachikoma.makima.server.orders import spawn_order
from tachikoma.makima.server.planning import Capacity, Waiting, most_of, planned
from tachikoma.makima.server.shapes import KeyKind
from tachikoma.makima.server.store import Store
from tachikoma.model.errors import TachikomaError
from tachikoma.model.errors_fleet import RequestError

GRACE_S = 120.0
"""How long a daemon may be away before its tasks are given up."""
LOAD_KEPT_S = 7 * 24 * 3600.0
_LOOKS_EACH_S = 2.0
_SAYS_AGAIN_S = 60.0
_AFTER_TROUBLE_S = 5.0
_M = TypeVar("_M")
_log = logging.getLogger(__name__)


class Fleet:
    """Is `downstream.Host` for the tasks in ``store``, from beginning to end of its block.

    A task whose daemon is away for ``grace_s`` is given up, and taken back if the daemon comes with
    it after all. On stop the daemons are told to come again later; their tasks go on.
    """

    def __init__(self, store: Store, *, grace_s: float = GRACE_S) -> None:
        self.downstream = Downstream(host=self, clock=store.clock)
        self._store = store
        self._clock = store.clock
        self._grace_s = grace_s
        self._hearing = Hearing(store.database)
        self._questions = Questions(store.clock)
        self._here: dict[UUID, Peer] = {}
        self._keys: dict[str, str] = {}
        self._away: dict[UUID, float] = {}
        self._since = store.clock.monotonic()
        self._told: dict[UUID, tuple[Peer, float]] = {}
        self._wake = asyncio.Event()
        self._rest = AsyncExitStack()
        self.turned_away_count = 0

    @property
    def here(self) -> Mapping[UUID, Peer]:
        """The daemons that are connected, by their id."""
        return MappingProxyType(self._here)

    async def __aenter__(self) -> Self:
        """Begin to give tasks out."""
        self._store.after = self._after
        async with AsyncExitStack() as rest:
            await rest.enter_async_context(self.downstream)
            for work, name in ((self._give_out(), "tasks out"), (self._watch(), "lost daemons")):
                rest.push_async_callback(tasks.end, tasks.spawn(work, name=name))
            self._rest = rest.pop_all()
        self._wake.set()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop as the class promises."""
        await self._rest.aclose()

    # What is wanted of daemons

    def tell(self, entry: Entry, command: Command) -> None:
        """Say something to the daemon of a task.

        Raises:
            RequestError: it has none, or that is away.
        """
        self._peer_of(entry).send(command)

    async def ask(
        self, entry: Entry, command: Command, answer: type[_M], *, deadline_s: float
    ) -> _M:
        """Ask the daemon of a task.

        Raises:
            RequestError: it has none, that is away, or it does not answer.
        """
        peer = self._peer_of(entry)
        assert entry.current is not None
        return await self._questions.ask(
            entry.current, answer, lambda: peer.send(command), deadline_s=deadline_s
        )

    def check_here(self, entry: Entry) -> None:
        """Look whether the daemon of a task can be told something.

        Raises:
            RequestError: it has none, or that is away.
        """
        self._peer_of(entry)

    def _peer_of(self, entry: Entry) -> Peer:
        if entry.machine is None or entry.current is None:
            raise RequestError(
                f"no daemon has begun with the task “{entry.name}” yet",
                status=409,
                reason="wrong_state",
                hint="wait until it runs",
            )
        peer = self._here.get(entry.machine)
        if peer is None or peer.closing:
            raise RequestError(
                f"the daemon that has the task “{entry.name}” is not connected",
                status=503,
                reason="daemon_away",
                hint="see that its machine and `makima-daemon` there run, then try again",
            )
        return peer

    def _after(self, aftermath: Aftermath) -> None:
        """Do what follows from a change."""
        for order, entry in aftermath.orders:
            peer = self._here.get(entry.machine) if entry.machine is not None else None
            if peer is None or entry.current is None:
                continue
            match order:
                case Order.INTERRUPT:
                    peer.send(InterruptTask(task_id=entry.current, graceful=True))
                case Order.PAUSE:
                    peer.send(PauseTask(task_id=entry.current))
                case Order.RESUME:
                    peer.send(ResumeTask(task_id=entry.current))
                case Order.ENDED | Order.REVIVED:
                    pass
        if aftermath.happened:
            self._wake.set()

    # What daemons say

    @property
    def full(self) -> bool:
        """Never: the disk is what bounds us."""
        return False

    async def room(self) -> None:
        """Does not wait."""

    def delivered(self, peer: Peer, mark: int) -> None:
        """Nothing depends on it: what a daemon has missed, it is told again."""

    async def lets_in(self, said: Authenticate) -> bool:
        """Tell whether it has the key of a daemon."""
        key = await self._store.keyring.find(said.api_key)
        return key is not None and key.kind is KeyKind.DAEMON

    async def welcome(self, said: Authenticate) -> Welcome:
        """Give a machine its id, and what was kept of it."""
        async with self._store.change() as change:
            found = await change.welcome(
                said.machine_id, said.hostname, max(said.max_concurrent_tasks, 0)
            )
        self._keys[said.machine_id] = said.api_key
        return Welcome(found.id, found.seq)

    async def arrived(self, peer: Peer) -> None:
        """Give it tasks from now on."""
        self._here[peer.id] = peer
        self._away.pop(peer.id, None)
        await self._note(peer, "connected", f"{peer.hostname} has connected")
        _log.info("daemon %s (%s) has connected", peer.hostname, peer.id)

    async def left(self, peer: Peer) -> None:
        """Give its tasks some time."""
        self._here.pop(peer.id, None)
        self._away[peer.id] = self._clock.monotonic()
        _log.info("daemon %s (%s) has left: %s", peer.hostname, peer.id, peer.reason)
        await self._note(peer, "disconnected", f"{peer.hostname} has left: {peer.reason}")

    def turned_away(self, address: str, why: str) -> None:
        """Count and log it."""
        self.turned_away_count += 1
        _log.warning("a daemon at %s was not let in: %s", address, why)

    async def heard(self, peer: Peer, said: Sequence[Heard]) -> None:
        """Keep what it said, all of it or nothing."""
        seqs = [each.seq for each in said if each.seq is not None]
        beats = [each.message for each in said if isinstance(each.message, Heartbeat)]
        try:
            async with self._store.change() as change:
                await self._hearing.take(change, peer.id, [each.message for each in said])
                if beats:
                    await self._beat(change, peer, beats[-1])
                if seqs:
                    await change.heard_up_to(peer.id, seqs[-1])
        except BaseException:
            self._hearing.forget()
            raise
        for each in said:
            self._questions.answered(each.message)
        if beats:
            await self._reconcile(peer, frozenset(beats[-1].active_tasks))

    async def _beat(self, change: Change, peer: Peer, beat: Heartbeat) -> None:
        await change.heartbeat(
            peer.id, active=len(beat.active_tasks), most=peer.most_tasks, keep_s=LOAD_KEPT_S
        )
        for attempt in beat.active_tasks:
            record = await change.attempt(attempt)
            if record is None or record.machine != peer.id:
                continue
            entry = await change.entry(record.task)
            assert entry is not None
            if entry.current == attempt and entry.standing.lost:
                await change.say(entry, Found(), "its daemon has come back with it")
            elif entry.current != attempt or entry.status.ended:
                # Something else was done in its place meanwhile.
                peer.send(InterruptTask(task_id=attempt, graceful=False))

    async def _reconcile(self, peer: Peer, active: frozenset[UUID]) -> None:
        """Tell a daemon again of what it has not heard: it passes over what it knows."""
        async with self._store.change() as change:
            for entry in await change.out(peer.id):
                if entry.current in active:
                    if entry.standing.wanted and self._is_due(entry, peer):
                        peer.send(InterruptTask(task_id=entry.current, graceful=True))
                elif self._is_due(entry, peer):
                    await self._spawn(change, entry, peer)
        if not await self._key_is_good(peer):
            await peer.close(GOING_AWAY, "its API key was revoked")

    async def _key_is_good(self, peer: Peer) -> bool:
        key = await self._store.keyring.find(self._keys.get(peer.machine_id, ""))
        return key is not None and key.kind is KeyKind.DAEMON

    def _is_due(self, entry: Entry, peer: Peer) -> bool:
        """Whether it was not told by this connection, or a while ago."""
        assert entry.current is not None
        told, at = self._told.get(entry.current, (None, 0.0))
        now = self._clock.monotonic()
        if told is peer and now - at < _SAYS_AGAIN_S:
            return False
        self._told[entry.current] = (peer, now)
        return True

    async def _note(self, peer: Peer, what: str, text: str) -> None:
        async with self._store.change() as change:
            await change.happened(what, text, machine=peer.id)

    # Who gets what

    async def _give_out(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._give_out_once()
            except TachikomaError as error:
                _log.error("no task could be given out: %s", error.message)
                await self._clock.sleep(_AFTER_TROUBLE_S)
                self._wake.set()

    async def _give_out_once(self) -> None:
        if not self._here:
            return
        active = await self._store.active()
        capacities = [
            Capacity(
                Load(peer.id, most_of(peer.most_tasks), active.get(peer.id, (0, 0))[0], peer.since),
                active.get(peer.id, (0, 0))[1],
            )
            for peer in self._here.values()
            if not peer.closing
        ]
        given: list[tuple[Peer, Entry]] = []
        async with self._store.change() as change:
            ready = {each.id: each for each in await change.ready()}
            waiting = [await _waiting(change, each) for each in ready.values()]
            for task, machine in planned(waiting, capacities):
                found = await change.machine(machine)
                assert found is not None
                entry = await change.assign(ready[task], found)
                given.append((self._here[machine], entry))
        for peer, entry in given:
            async with self._store.change() as change:
                self._is_due(entry, peer)
                await self._spawn(change, entry, peer)

    async def _spawn(self, change: Change, entry: Entry, peer: Peer) -> None:
        parent = await change.entry(entry.parent) if entry.parent is not None else None
        source = await change.entry(entry.continue_from) if entry.continue_from else None
        peer.send(
            spawn_order(
                entry,
                await change.texts(entry.id),
                attempts=await change.attempts(entry.id),
                parent=parent,
                source=source,
            )
        )

    async def _watch(self) -> None:
        """Give up the tasks of daemons that do not come back."""
        while True:
            await self._clock.sleep(_LOOKS_EACH_S)
            try:
                await self.give_up_lost()
            except TachikomaError as error:
                _log.error("lost daemons were not looked after: %s", error.message)

    async def give_up_lost(self) -> None:
        """Give up the tasks of daemons that have been away for too long."""
        now = self._clock.monotonic()
        async with self._store.change() as change:
            for entry in await change.out():
                if entry.machine is None or entry.machine in self._here:
                    continue
                if now - self._away.get(entry.machine, self._since) < self._grace_s:
                    continue
                machine = await change.machine(entry.machine)
                given_up = await change.say(entry, Vanished(_gone(machine, self._grace_s)))
                if not given_up.status.ended:  # what it has done is where nobody reaches it
                    await change.put(replace(given_up, fresh=True), "changed", "starts anew")


def _gone(machine: MachineEntry | None, grace_s: float) -> str:
    host = machine.hostname if machine is not None else ""
    return f"its daemon {host} has been away for more than {grace_s:.0f} s"


async def _waiting(change: Change, entry: Entry) -> Waiting:
    """Say where a task may go."""
    only: UUID | None = None
    if entry.parent is not None:
        parent = await change.entry(entry.parent)
        only = parent.machine if parent is not None else None
    elif entry.machine is not None and not entry.fresh:
        only = entry.machine
    elif entry.machine is None and entry.continue_from is not None:
        source = await change.entry(entry.continue_from)
        only = source.machine if source is not None else None
    return Waiting(
        id=entry.id,
        priority=entry.priority,
        arrival=entry.arrival,
        only=only,
        subtask=entry.parent is not None,
        orchestrator=entry.orchestrator,
    )
