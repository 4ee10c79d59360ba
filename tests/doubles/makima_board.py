"""A relay's board with a disk that takes what is to be written at once, and keeps it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from uuid import UUID

from tachikoma.makima.commands import Command
from tachikoma.makima.messages import Message
from tachikoma.makima.relay.board import HISTORY, Board
from tachikoma.makima.relay.entries import Batch, Entry, Known, MachineRow
from tachikoma.makima.wire import BadFrame, decode_command


@dataclass
class Desk:
    """A board, and a disk that takes what is to be written at once."""

    known: Known = field(default_factory=Known)
    now: float = 1000.0
    history: int = HISTORY
    said: list[Message] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    waiting: dict[UUID, list[str]] = field(default_factory=dict)
    commands: dict[str, dict[int, Command]] = field(default_factory=dict)
    entries: dict[UUID, Entry] = field(default_factory=dict)
    machines: dict[str, MachineRow] = field(default_factory=dict)
    processed: int = 0
    newest_command: int = 0

    def __post_init__(self) -> None:
        ids = itertools.count(100)
        self.board = Board(
            self.known,
            now=lambda: self.now,
            monotonic=lambda: self.now,
            new_id=lambda: UUID(int=next(ids)),
            history=self.history,
        )
        self.entries = {each.id: each for each in self.known.tasks}

    def write(self) -> Batch:
        """Do what the store does."""
        batch = self.board.taken_out()
        for task, text in batch.waiting:
            self.waiting.setdefault(task, []).append(text)
        for moved in batch.moved:
            for number, text in enumerate(self.waiting.pop(moved.task)):
                self._address(moved.machine, moved.first_id + number, text)
        for task in batch.dropped:
            self.waiting.pop(task, None)
        for each in batch.addressed:
            self._address(each.machine, each.id, each.text)
        for machine, up_to in batch.delivered.items():
            kept = self.commands.get(machine, {})
            self.commands[machine] = {id_: each for id_, each in kept.items() if id_ > up_to}
        self.entries |= batch.tasks
        for task in batch.forgotten:
            del self.entries[task]
        self.machines |= batch.machines
        self.events += [event.kind for event in batch.events]
        self.said += batch.says
        self.processed = int(batch.state.get("processed", self.processed))
        self.newest_command = int(batch.state.get("newest_command", self.newest_command))
        return batch

    def _address(self, machine: str, id_: int, text: str) -> None:
        command = decode_command(text)
        assert not isinstance(command, BadFrame)
        held = self.commands.setdefault(machine, {})
        assert id_ > max(held, default=0), "commands of a machine are numbered in their order"
        held[id_] = command

    def take(self, *commands: Command) -> None:
        for each in commands:
            self.board.take(each)
        self.write()

    def come(self, machine: str, *, most: int = 4) -> None:
        self.board.welcome(machine, machine)
        self.board.arrived(machine, most=most)
        self.write()

    def go(self, machine: str) -> None:
        self.board.left(machine, "it broke off")
        self.write()

    def hear(self, machine: str, *messages: Message) -> None:
        for each in messages:
            self.board.heard(machine, each, None)
        self.write()

    def read_all(self, machine: str) -> list[Command]:
        """The daemon reads its commands."""
        found = self.commands.get(machine, {})
        if found:
            self.board.delivered(machine, max(found))
            self.write()
        return list(found.values())

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.board.passed()
        self.write()

    def again(self) -> Desk:
        """A relay that is started after this one was killed."""
        rows = tuple(
            (id_, machine, each.task_id)  # type: ignore[union-attr]  # all of them name a task
            for machine, held in self.commands.items()
            for id_, each in held.items()
        )
        known = Known(
            tasks=tuple(sorted(self.entries.values(), key=lambda each: each.arrival)),
            machines=tuple(self.machines.values()),
            addressed=tuple(sorted(rows)),
            newest_command=self.newest_command,
            processed=self.processed,
        )
        made = Desk(known=known, now=self.now)
        made.waiting, made.commands = self.waiting, self.commands
        made.machines, made.processed = self.machines, self.processed
        made.newest_command = self.newest_command
        return made
