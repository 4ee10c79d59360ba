"""The daemon: a server's tasks on this machine, from the first to the last and over every crash."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import UUID

from tachikoma.host.clock import Clock
from tachikoma.host.tasks import end, spawn
from tachikoma.makima.admission import admitted
from tachikoma.makima.book import Book
from tachikoma.makima.commands import Authenticated, Command, Error, SpawnTask
from tachikoma.makima.door import Door, http_base
from tachikoma.makima.link import Link
from tachikoma.makima.messages import (
    DaemonDirectories,
    Message,
    TaskComplete,
    TaskStatusChange,
)
from tachikoma.makima.performing import Performer, TaskCommand, refused
from tachikoma.makima.record import Isolation, TaskRecord, TaskStatus
from tachikoma.makima.room import when_there_is_room
from tachikoma.makima.session import Identity
from tachikoma.makima.settings import DaemonSettings
from tachikoma.makima.tasks.ending import worded
from tachikoma.makima.tasks.life import Life, Parts
from tachikoma.makima.tasks.merging import Merging
from tachikoma.makima.tasks.port import Actions, Line, Place, Worktrees
from tachikoma.model.errors import TachikomaError
from tachikoma.model.vm import Endpoint

T = TypeVar("T")

_log = logging.getLogger(__name__)
_MOST_COMMANDS = 1000
"""Commands about one task that may wait for those before them."""
_FAULT = "a fault of tachikoma's own; the log of the daemon says more"


class Logs(Protocol):
    """Where what agents print is kept for people. Never fails."""

    def keep(self, task: UUID, lines: Sequence[Line]) -> None:
        """Append what the agent of ``task`` printed."""
        ...

    def ended(self, task: UUID) -> None:
        """Know that it will print no more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a daemon works with, joined in the composition root. ``chore`` is done once, beside its
    work, and never fails.
    """

    clock: Clock
    worktrees: Worktrees
    actions: Actions
    merging: Merging
    places: Mapping[Isolation, Place]
    isolation: Isolation
    hostname: str
    directory: Path
    logs: Logs
    chore: Callable[[], Coroutine[None, None, None]]


class Daemon:
    """Connects to the server and lives the lives of its tasks.

    If starting fails because another daemon has the book, nothing was begun. What an earlier daemon
    left is taken up whether the server is there or not. On stop, agents at work go on: the next
    daemon finds them, with all that they printed.
    """

    def __init__(self, settings: DaemonSettings, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self._lives: dict[UUID, Life] = {}
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._desks: dict[UUID, asyncio.Queue[TaskCommand]] = {}
        self._clerks: dict[UUID, asyncio.Task[None]] = {}
        self._door: Door | None = None
        self._door_lock = asyncio.Lock()

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            BookError: another daemon has the database, or it cannot be used.
            RefusedError: the server does not let this daemon in.
            UnreachableError: it was not reached in as many attempts as the settings allow.
        """
        async with AsyncExitStack() as rest:
            path, clock = self._settings.local_db.path, self._tools.clock
            self._book = await rest.enter_async_context(Book.at(path, clock=clock))
            self._rest = rest
            self._parts = self._join()
            self._performer = Performer(
                book=self._book,
                worktrees=self._tools.worktrees,
                actions=self._tools.actions,
                merging=self._tools.merging,
                default_target=self._settings.worktree.default_target_repo,
                life_of=self._lives.get,
            )
            chore = spawn(self._tools.chore(), name="the daemon's chore")
            try:
                await self._take_up()
                await self._link().run()
            finally:
                for each in [chore, *self._clerks.values(), *self._running.values()]:
                    await end(each)

    # Joining

    def _join(self) -> Parts:
        tools, settings = self._tools, self._settings
        return Parts(
            book=self._book,
            worktrees=tools.worktrees,
            actions=tools.actions,
            places=tools.places,
            isolation=tools.isolation,
            settings=settings.process,
            default_target=settings.worktree.default_target_repo,
            clock=tools.clock,
            server=http_base(settings.server.url),
            door=self._door_endpoint,
            keep=tools.logs.keep,
        )

    def _link(self) -> Link:
        tools, settings = self._tools, self._settings
        return Link(
            settings=settings.server,
            book=self._book,
            clock=tools.clock,
            identity=Identity(
                machine_id=self._book.machine_id,
                hostname=tools.hostname,
                max_concurrent_tasks=settings.process.max_concurrent_tasks,
            ),
            directories=DaemonDirectories(
                working_directory=str(tools.directory),
                home_directory=str(settings.repos.home_dir),
                worktrees_directory=str(settings.worktree.base_dir),
            ),
            perform=self._perform,
            active=self._active,
        )

    async def _door_endpoint(self) -> Endpoint:
        """Open the door for orchestrators when the first one comes."""
        async with self._door_lock:
            if self._door is None:
                door = Door(http_base(self._settings.server.url))
                self._door = await self._rest.enter_async_context(door)
            return self._door.endpoint

    # Tasks

    async def _take_up(self) -> None:
        """Go on with what an earlier daemon left."""
        for notice in await self._tidy_worktrees():
            _log.warning("%s", notice)
        for record in await self._book.tasks():
            if record.status.ended:
                continue
            self._lives[record.id] = Life(record, self._parts)
            if record.status not in {TaskStatus.PENDING} and not _held_before_it_began(record):
                _log.info("task %s was %s: taken up again", record.id, record.status)
                self._start(record.id)
        self._start_admitted()

    async def _tidy_worktrees(self) -> Sequence[str]:
        if not self._settings.worktree.cleanup_on_start:
            return []
        return await self._tools.worktrees.cleanup(await self._book.tasks())

    def _start_admitted(self) -> None:
        records = [life.record for life in self._lives.values()]
        waiting = [each for each in records if each.id not in self._running]
        for record in waiting:  # what was interrupted before it began needs no place
            if record.verdict is not None:
                self._start(record.id)
        most = self._settings.process.max_concurrent_tasks
        for record in admitted(self._counted(records), most=most):
            self._start(record.id)

    def _counted(self, records: Sequence[TaskRecord]) -> list[TaskRecord]:
        """A life that has just been started may still be noted as pending."""
        return [
            replace(each, status=TaskStatus.INITIALIZING)
            if each.id in self._running and each.status is TaskStatus.PENDING
            else each
            for each in records
        ]

    def _start(self, task: UUID) -> None:
        work = spawn(self._live(self._lives[task]), name=f"task {task}")
        self._running[task] = work

    async def _live(self, life: Life) -> None:
        task = life.record.id
        try:
            try:
                await life.run()
            except Exception:  # noqa: BLE001 - logged whole, and the task fails with it
                # A bug of ours must not leave the server waiting for ever.
                _log.exception("task %s met a bug", task)
                await life.fail("the daemon has a bug: its log tells more")
        finally:
            del self._running[task]
        self._lives.pop(task)
        self._tools.logs.ended(task)
        self._start_admitted()

    def _active(self) -> Sequence[UUID]:
        return tuple(self._lives)

    # Commands

    async def _perform(self, command: Command) -> None:
        match command:
            case SpawnTask():
                await self._admit(command)
            case Authenticated() | Error():
                pass  # the session's business
            case _:
                self._hand_over(command)

    async def _admit(self, order: SpawnTask) -> None:
        record = await self._when_there_is_room(order.task_id, lambda: self._book.admit(order))
        if record is None:
            await self._known_already(order.task_id)
            return
        _log.info("task %s has come: %s", record.id, order.task_name)
        self._lives[record.id] = Life(record, self._parts)
        self._start_admitted()

    async def _known_already(self, task: UUID) -> None:
        """A server that spawns a task again has missed how it stands."""
        record = await self._book.task(task)
        assert record is not None
        _log.warning("task %s was spawned again; it is %s", task, record.status)
        status = TaskStatusChange(task_id=task, old_status=record.status, new_status=record.status)
        complete = TaskComplete(
            task_id=task,
            success=record.status is TaskStatus.DONE,
            error=record.error or None,
        )
        told: list[Message] = [status, complete] if record.status.ended else [status]
        await self._when_there_is_room(task, lambda: self._book.say(told))

    def _hand_over(self, command: TaskCommand) -> None:
        """Let a command wait for those about the same task, and for no others."""
        task = command.task_id
        desk = self._desks.setdefault(task, asyncio.Queue(_MOST_COMMANDS))
        try:
            desk.put_nowait(command)
        except asyncio.QueueFull:
            _log.warning("too many commands wait for the task %s: dropped %s", task, command.type)
            return
        if task not in self._clerks:
            self._clerks[task] = spawn(self._work_off(task), name=f"commands of {task}")

    async def _work_off(self, task: UUID) -> None:
        desk = self._desks[task]
        try:
            while not desk.empty():
                await self._do(desk.get_nowait())
        finally:
            del self._clerks[task]
            del self._desks[task]

    async def _do(self, command: TaskCommand) -> None:
        try:
            if answers := await self._performed(command):
                await self._when_there_is_room(command.task_id, lambda: self._book.say(answers))
        except TachikomaError as error:
            _log.warning("%s", worded(error))
        self._start_admitted()  # it may have been resumed, or interrupted before it began

    async def _performed(self, command: TaskCommand) -> Sequence[Message]:
        try:
            return await self._performer.perform(command)
        except TachikomaError:
            raise
        except Exception:  # noqa: BLE001 - a front door: the commands that wait are not lost
            _log.exception("a fault of tachikoma's in performing %s", command.type)
            return refused(command, _FAULT)

    async def _when_there_is_room(self, task: UUID, write: Callable[[], Awaitable[T]]) -> T:
        return await when_there_is_room(write, who=f"task {task}", clock=self._tools.clock)


def _held_before_it_began(record: TaskRecord) -> bool:
    return record.status is TaskStatus.PAUSED and record.started is None
