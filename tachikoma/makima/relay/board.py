"""Who holds which task, and what is to be said and written when something happens (pure).

Everything here is at once true in memory and noted in a `Batch`; nobody outside hears of it before
the batch is on disk. One `Board` lives as long as the relay.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from uuid import UUID

from tachikoma.makima.commands import Authenticated, Command, Error, InterruptTask, SpawnTask
from tachikoma.makima.dispatch import Load, least_loaded
from tachikoma.makima.messages import (
    Authenticate,
    DaemonDirectories,
    Heartbeat,
    Message,
    TaskComplete,
    TaskOutput,
    TaskProgress,
    TaskStatusChange,
)
from tachikoma.makima.relay.entries import (
    Addressed,
    Batch,
    Counts,
    Entry,
    Event,
    Known,
    Machine,
    MachineRow,
    Moved,
    Status,
)
from tachikoma.makima.relay.refusals import refusal
from tachikoma.makima.wire import encode

GRACE_S = 60.0
"""So long a daemon that vanished with tasks may take to come back."""
UNKNOWN_S = 90.0
"""So long a connected daemon may leave a task out of its heartbeats: at least three of them."""
HISTORY = 10_000
"""Ended tasks that are remembered."""

_OF_A_LIFE = (TaskOutput, TaskStatusChange, TaskProgress, TaskComplete)


class Board:
    """Takes what the server and the daemons say, and when they come and go.

    ``now`` gives seconds since the epoch, ``monotonic`` those of a clock that never goes back. Of
    the tasks that have ended the last ``history`` are remembered.
    """

    def __init__(
        self,
        known: Known,
        *,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        new_id: Callable[[], UUID],
        history: int = HISTORY,
    ) -> None:
        self.counts = Counts()
        self.processed = known.processed
        """How many tasks have ended, in all the time of this database."""
        self._now = now
        self._monotonic = monotonic
        self._new_id = new_id
        self._history = history
        self._batch = Batch()
        self._tasks = {each.id: each for each in known.tasks}
        self._ended: OrderedDict[UUID, None] = OrderedDict()
        self._queue: OrderedDict[UUID, None] = OrderedDict()
        self._machines: dict[str, Machine] = {}
        self._loads: dict[str, Load] = {}
        self._of_load: dict[UUID, str] = {}
        self._newest_command = known.newest_command
        self._newest_arrival = max((each.arrival for each in known.tasks), default=0)
        self._remember(known)

    def _remember(self, known: Known) -> None:
        for row in known.machines:
            self._machines[row.id] = Machine(row, away_since=self._monotonic())
        for entry in known.tasks:
            if entry.status is Status.PENDING:
                self._queue[entry.id] = None
            elif entry.status.ended:
                self._ended[entry.id] = None
            elif entry.machine in self._machines:
                self._machines[entry.machine].held.add(entry.id)
        for id_, machine, task in known.addressed:
            if machine in self._machines:
                self._machines[machine].undelivered[id_] = task

    # What is asked

    @property
    def pending(self) -> int:
        """How many tasks wait for a daemon with room."""
        return len(self._queue)

    @property
    def active(self) -> tuple[UUID, ...]:
        """The tasks that daemons hold."""
        return tuple(task for machine in self._machines.values() for task in machine.held)

    @property
    def active_count(self) -> int:
        """How many tasks daemons hold."""
        return sum(len(machine.held) for machine in self._machines.values())

    @property
    def connected(self) -> int:
        """How many daemons are connected."""
        return len(self._loads)

    @property
    def machines(self) -> Mapping[str, Machine]:
        """Every machine that was ever seen."""
        return MappingProxyType(self._machines)

    def task(self, task: UUID) -> Entry | None:
        """Give a task, if it is remembered."""
        return self._tasks.get(task)

    def taken_out(self) -> Batch:
        """Give what is to be written since this was asked the last time."""
        batch, self._batch = self._batch, Batch()
        return batch

    @property
    def changed(self) -> bool:
        """Whether there is something to be written."""
        return bool(self._batch)

    # What happens

    def note(self, kind: str, text: str) -> None:
        """Note an event."""
        self._batch.events.append(Event(self._now(), kind, text))

    def keep(self, name: str, value: str) -> None:
        """Keep a value of the relay's own."""
        self._batch.state[name] = value

    def take(self, command: Command) -> None:
        """Take what the server asks."""
        self.counts.down += 1
        match command:
            case SpawnTask():
                self._spawn(command)
            case Authenticated() | Error():
                pass
            case _:
                self._route(command)

    def welcome(self, machine: str, hostname: str) -> MachineRow:
        """Give what is known of a machine that comes; it is remembered from now on."""
        known = self._machines.get(machine)
        if known is None:
            row = MachineRow(machine, self._new_id(), hostname, 0, self._now())
            known = self._machines[machine] = Machine(row, away_since=self._monotonic())
        self._write_machine(known, replace(known.row, hostname=hostname, seen=self._now()))
        return known.row

    def arrived(self, machine: str, *, most: int) -> None:
        """Note that the daemon of a machine is connected."""
        known = self._machines[machine]
        known.since, known.away_since = self._monotonic(), None
        known.most = most
        known.active = frozenset()
        known.missing.clear()
        known.told_to_end.clear()
        self._weigh(known)
        held = f", with {len(known.held)} tasks" if known.held else ""
        self.note("daemon_connected", f"{known.called} is connected{held}")
        if known.undelivered:
            self._batch.wake.add(machine)
        self._fill()

    def left(self, machine: str, reason: str) -> None:
        """Note that the daemon of a machine is gone."""
        known = self._machines[machine]
        known.since, known.away_since = None, self._monotonic()
        self._loads.pop(machine, None)
        held = f"; it holds {len(known.held)} tasks" if known.held else ""
        self.note("daemon_disconnected", f"{known.called}: {reason}{held}")

    def delivered(self, machine: str, up_to: int) -> None:
        """Note that a daemon has read its commands up to a number."""
        known = self._machines[machine]
        while known.undelivered and next(iter(known.undelivered)) <= up_to:
            known.undelivered.popitem(last=False)
            self._batch.delivered[machine] = up_to

    def heard(self, machine: str, message: Message, seq: int | None) -> None:
        """Take what a daemon says."""
        known = self._machines[machine]
        if seq is not None:
            self._write_machine(known, replace(known.row, last_seq=seq, seen=self._now()))
        match message:
            case Heartbeat(active_tasks=active):
                self._beat(known, frozenset(active))
            case DaemonDirectories() | Authenticate():
                pass
            case _:
                self._heard_of_task(known, message)

    def passed(self) -> None:
        """Look at what time has brought: daemons that did not come back, tasks that nobody has."""
        now = self._monotonic()
        for known in self._machines.values():
            if known.away_since is not None and now - known.away_since >= GRACE_S:
                self._give_up_away(known)
            for task, since in list(known.missing.items()):
                if now - since >= UNKNOWN_S:
                    del known.missing[task]
                    self._give_up(
                        known,
                        self._tasks[task],
                        f"the daemon {known.row.hostname} does not know this task any more",
                    )
        self._fill()

    # Tasks

    def _spawn(self, order: SpawnTask) -> None:
        if order.task_id in self._tasks:
            self.note("repeat", f"task {order.task_id} was sent again; it is known already")
            return
        self.counts.received += 1
        self._newest_arrival += 1
        entry = Entry(order.task_id, self._newest_arrival, order.task_name, self._now())
        chosen = None if self._queue else self._least_loaded()
        if chosen is None:
            self._queue[entry.id] = None
            self._wait_with(entry, order)
        else:
            self._hand_out(entry, chosen)
            self._address(chosen, order.task_id, encode(order))

    def _route(self, command: Command) -> None:
        """Send a command that names a task to who holds it."""
        assert not isinstance(command, Authenticated | Error)
        entry = self._tasks.get(command.task_id)
        if entry is None:
            self._refuse(command, "no such task is known to the relay")
        elif entry.given_up:
            self._refuse(command, f"the task is lost: {entry.error}")
        elif entry.status is Status.PENDING:
            if isinstance(command, InterruptTask):
                self._interrupt_pending(entry)
            else:
                self._wait_with(entry, command)
        elif entry.machine is None:
            self._refuse(command, "the task was never given to a daemon")
        else:
            machine = self._machines.get(entry.machine)
            if machine is None or self._is_lost(machine):
                self._refuse(command, "the daemon that has the task is away")
            else:
                self._address(machine, entry.id, encode(command))

    def _refuse(self, command: Command, why: str) -> None:
        assert not isinstance(command, Authenticated | Error)
        self.counts.dropped += 1
        self.note("undeliverable", f"`{command.type}` for task {command.task_id}: {why}")
        answer = refusal(command, why)
        if answer is not None:
            self._say(answer)

    def _wait_with(self, entry: Entry, command: Command) -> None:
        self._batch.waiting.append((entry.id, encode(command)))
        self._write(replace(entry, waiting=entry.waiting + 1))

    def _interrupt_pending(self, entry: Entry) -> None:
        self._queue.pop(entry.id)
        self._batch.dropped.append(entry.id)
        self._say(
            TaskStatusChange(task_id=entry.id, old_status="pending", new_status="interrupted")
        )
        self._end(entry, success=False, error="it was interrupted before a daemon had room for it")

    def _fill(self) -> None:
        """Give out what waits, first come, first served, while somebody has room."""
        while self._queue and (chosen := self._least_loaded()) is not None:
            task, _ = self._queue.popitem(last=False)
            entry = self._tasks[task]
            first = self._numbers(entry.waiting)
            for id_ in range(first, first + entry.waiting):
                chosen.undelivered[id_] = task
            self._batch.moved.append(Moved(task, chosen.row.id, first))
            self._batch.wake.add(chosen.row.id)
            self._hand_out(replace(entry, waiting=0), chosen)

    def _hand_out(self, entry: Entry, machine: Machine) -> None:
        self.counts.dispatched += 1
        machine.held.add(entry.id)
        self._weigh(machine)
        self._write(
            replace(
                entry,
                status=Status.DISPATCHED,
                machine=machine.row.id,
                dispatched=self._now(),
            )
        )

    def _address(self, machine: Machine, task: UUID, text: str) -> None:
        id_ = self._numbers(1)
        machine.undelivered[id_] = task
        self._batch.addressed.append(Addressed(id_, machine.row.id, task, text))
        self._batch.wake.add(machine.row.id)

    def _numbers(self, count: int) -> int:
        """Give the first of so many numbers that no command has ever had."""
        first = self._newest_command + 1
        self._newest_command += count
        self.keep("newest_command", str(self._newest_command))
        return first

    def _heard_of_task(self, known: Machine, message: Message) -> None:
        assert not isinstance(message, Authenticate | Heartbeat | DaemonDirectories)
        entry = self._tasks.get(message.task_id)
        if entry is None:
            if not isinstance(message, _OF_A_LIFE):
                self._say(message)
                return
            entry = self._adopted(known, message.task_id)
        if entry.machine != known.row.id:
            self._drop(known, message, "another daemon has the task")
        elif entry.given_up:
            self._drop(known, message, "the task was reported as failed before")
            self._tell_to_end(known, entry)
        elif entry.status.ended and isinstance(message, _OF_A_LIFE):
            self._drop(known, message, "the task has ended before")
        else:
            self._pass_up(known, entry, message)

    def _pass_up(self, known: Machine, entry: Entry, message: Message) -> None:
        known.missing.pop(entry.id, None)
        self._say(message)
        match message:
            case TaskStatusChange(new_status=status):
                self._write(replace(entry, said=status))
            case TaskComplete(success=success, error=error):
                known.held.discard(entry.id)
                known.active -= {entry.id}
                self._weigh(known)
                self._end(entry, success=success, error=error or "", say=False)
                self._fill()
            case _:
                pass

    def _adopted(self, known: Machine, task: UUID) -> Entry:
        """Take up a task that a daemon works on and that this database has never heard of."""
        self._newest_arrival += 1
        entry = Entry(
            task,
            self._newest_arrival,
            "",
            self._now(),
            status=Status.DISPATCHED,
            machine=known.row.id,
            dispatched=self._now(),
        )
        self.note("adopted", f"{known.called} works on task {task}, which was not known")
        known.held.add(task)
        self._weigh(known)
        self._write(entry)
        return entry

    def _drop(self, known: Machine, message: Message, why: str) -> None:
        self.counts.dropped += 1
        if not isinstance(message, TaskOutput | TaskProgress):
            self.note("dropped", f"`{message.type}` of {known.called}: {why}")

    def _tell_to_end(self, known: Machine, entry: Entry) -> None:
        """Nobody waits for this task any more."""
        if known.since is not None and entry.id not in known.told_to_end:
            known.told_to_end.add(entry.id)
            self._address(known, entry.id, encode(InterruptTask(task_id=entry.id, graceful=True)))

    def _give_up_away(self, known: Machine) -> None:
        for task in sorted(known.held, key=lambda task: self._tasks[task].arrival):
            self._give_up(
                known,
                self._tasks[task],
                f"the daemon {known.row.hostname} vanished, and did not come back within "
                f"{GRACE_S:.0f} s",
            )
        if known.undelivered:
            newest = next(reversed(known.undelivered))
            self.note(
                "undeliverable",
                f"{len(known.undelivered)} commands for {known.called}, which did not come back",
            )
            self.counts.dropped += len(known.undelivered)
            known.undelivered.clear()
            self._batch.delivered[known.row.id] = newest

    def _give_up(self, known: Machine, entry: Entry, why: str) -> None:
        self.counts.given_up += 1
        known.held.discard(entry.id)
        self._weigh(known)
        self._say(TaskStatusChange(task_id=entry.id, old_status=entry.said, new_status="failed"))
        self._end(replace(entry, given_up=True), success=False, error=why)

    def _end(self, entry: Entry, *, success: bool, error: str, say: bool = True) -> None:
        if say:
            self._say(TaskComplete(task_id=entry.id, success=success, error=error))
        if success:
            self.counts.completed += 1
        else:
            self.counts.failed += 1
        self.processed += 1
        self.keep("processed", str(self.processed))
        status = Status.COMPLETED if success else Status.FAILED
        self._write(replace(entry, status=status, ended=self._now(), error=error, waiting=0))
        self._ended[entry.id] = None
        while len(self._ended) > self._history:
            oldest, _ = self._ended.popitem(last=False)
            del self._tasks[oldest]
            self._batch.tasks.pop(oldest, None)
            self._batch.forgotten.append(oldest)

    # Machines

    def _beat(self, known: Machine, active: frozenset[UUID]) -> None:
        known.active = active
        undelivered = set(known.undelivered.values())
        for task in known.held - active - undelivered:
            known.missing.setdefault(task, self._monotonic())
        for task in list(known.missing):
            if task in active or task not in known.held:
                del known.missing[task]
        for task in active:
            entry = self._tasks.get(task)
            if entry is not None and entry.given_up and entry.machine == known.row.id:
                self._tell_to_end(known, entry)
        self._weigh(known)
        self._fill()

    def _weigh(self, known: Machine) -> None:
        if known.since is None:
            return
        active = len(known.held | known.active)
        load = Load(known.row.daemon_id, known.most, active, known.since)
        self._loads[known.row.id] = load
        self._of_load[load.id] = known.row.id

    def _least_loaded(self) -> Machine | None:
        chosen = least_loaded(self._loads.values())
        return None if chosen is None else self._machines[self._of_load[chosen]]

    def _is_lost(self, known: Machine) -> bool:
        away = known.away_since
        return away is not None and self._monotonic() - away >= GRACE_S

    # Writing

    def _say(self, message: Message) -> None:
        self.counts.up += 1
        self._batch.says.append(message)

    def _write(self, entry: Entry) -> None:
        self._tasks[entry.id] = entry
        self._batch.tasks[entry.id] = entry

    def _write_machine(self, known: Machine, row: MachineRow) -> None:
        known.row = row
        self._batch.machines[row.id] = row
