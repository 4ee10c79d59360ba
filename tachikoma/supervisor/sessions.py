"""Background sessions: Claude Code at work in a VM, on a terminal that nobody needs to look at.

Truth is observed: tmux in the VM says which sessions there are. The record says only where they
were started, so that one that went with its VM is still known, as ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tachikoma.model.errors import SshError, TachikomaError, VmNotRunningError
from tachikoma.model.errors_fleet import SessionNotFoundError, SupervisorError
from tachikoma.model.names import VmName, slugify
from tachikoma.model.vm import VmState
from tachikoma.ssh.port import Login
from tachikoma.state.port import VmRecord
from tachikoma.supervisor import multiplexer
from tachikoma.supervisor.multiplexer import Frames, Seen
from tachikoma.supervisor.news import News
from tachikoma.supervisor.session_book import SessionBook, SessionRecord
from tachikoma.vm.ports import Ports
from tachikoma.vm.requests import SpawnOutcome

_LOOK_S = 15.0
"""How long a VM may take to say which sessions it has."""
_MOST_SAID = 1 << 24
_STATUS = "`tachikoma daemon status` shows them all"


class SessionState(StrEnum):
    """How it stands with a session."""

    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Session:
    """One session. ``note`` says why it has ended, or why nobody knows.

    ``there`` tells whether tmux still has it, with all that it showed. ``created`` is seconds
    since the epoch.
    """

    name: str
    vm: VmName
    branch: str
    worktree: Path
    created: float
    state: SessionState
    note: str = ""
    attached: int = 0
    there: bool = False


class Sessions:
    """The background sessions of this user."""

    def __init__(self, *, ports: Ports, book: SessionBook) -> None:
        self._ports = ports
        self._book = book

    async def survey(self) -> list[Session]:
        """List all sessions: those of VMs that run, as they are, and those that went with theirs.

        A VM that does not answer is waited for no longer than a few seconds.
        """
        records = self._book.read()
        vms = self._ports.store.read().vms
        running = {
            info.name for info in await self._ports.hypervisor.vms() if _runs(info.state)
        } & set(vms)
        looks = await asyncio.gather(*(self._look(vms[name]) for name in running))
        seen = dict(zip(running, looks, strict=True))
        known = [_joined(each, seen.get(each.vm), each.vm in vms) for each in records.values()]
        found = [
            _unrecorded(vms[vm], each)
            for vm, sessions in seen.items()
            if not isinstance(sessions, str)
            for each in sessions.values()
            if each.name not in records  # a VM cannot pose as another one's session
        ]
        return sorted([*known, *found], key=lambda each: (each.created, each.name))

    async def find(self, name: str | None, *, vm: VmName | None) -> Session:
        """Find the session that is meant: its name, its branch or VM, or how its name begins.

        Without ``name`` it is the only one in ``vm``, or the only one there is.

        Raises:
            SessionNotFoundError: none, or more than one.
        """
        sessions = await self.survey()
        chosen = chosen_of(sessions, name, vm)
        if len(chosen) == 1:
            return chosen[0]
        what = f"{name!r}" if name else "the session"
        if not chosen:
            raise SessionNotFoundError(
                f"there is no session {name!r}" if name else "there is no background session",
                hint=_STATUS if sessions else "`tachikoma daemon bg` starts one",
            )
        raise SessionNotFoundError(
            f"{what} could be {', '.join(each.name for each in chosen)}",
            hint="give the name of one of them",
        )

    async def start(
        self, spawned: SpawnOutcome, *, name: str | None, program: Sequence[str]
    ) -> Session:
        """Start ``program`` in a session in the worktree of a VM, and come back at once.

        If starting fails there is no session and no record of one.

        Raises:
            SupervisorError: the name is taken or no name, or the VM lacks tmux or Claude Code.
            SshError: the VM does not answer.
        """
        record = await self._recorded(spawned, name)
        try:
            await self._start(record, spawned.login, program)
        except BaseException:
            with self._book.edit() as records:
                records.pop(record.name, None)
            raise
        return Session(
            record.name, record.vm, record.branch, record.worktree, record.created,
            SessionState.RUNNING, there=True,
        )  # fmt: skip

    async def way_in(self, session: Session) -> Login:
        """Say how to get into the VM of a session.

        Raises:
            VmNotRunningError: it does not run.
        """
        endpoint = await self._ports.hypervisor.address(session.vm)
        if endpoint is None:
            raise VmNotRunningError(
                f"{session.vm} does not run",
                hint=f"`tachikoma spawn {session.branch}` brings it up; the session is gone",
            )
        return self._ports.shell.login(session.vm, endpoint, self._ports.settings.ssh_user)

    async def text(self, session: Session) -> list[str]:
        """Give what a session has shown: at most the last 20,000 lines, as plain text.

        Raises:
            SupervisorError: nothing of it is left.
        """
        self.check_there(session)
        login = await self.way_in(session)
        status, said, error = await self._run(login, multiplexer.show_command(session.name), "")
        if status != 0:
            raise SupervisorError(
                f"{session.name} shows nothing", hint=_STATUS, details=error.strip()
            )
        lines = [line.rstrip() for line in said.split("\n")]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    async def follow(self, session: Session, on_lines: Callable[[list[str]], None]) -> None:
        """Hand on what a session shows, as it settles, until its program has ended.

        Raises:
            SupervisorError: nothing of it is left.
        """
        self.check_there(session)
        login = await self.way_in(session)
        frames, news, begun = Frames(), News(), bytearray()

        def take(data: bytes) -> None:
            begun.extend(data)
            *lines, rest = bytes(begun).split(b"\n")
            begun[:] = rest[:_MOST_SAID]
            for frame in frames.take([line.decode("utf-8", "replace") for line in lines]):
                if fresh := news.take(frame):
                    on_lines(fresh)

        await self._ports.shell.run(
            login, multiplexer.follow_command(session.name), directory="", stdin=None,
            on_stdout=take, on_stderr=lambda _: None,
        )  # fmt: skip

    async def kill(self, session: Session) -> None:
        """End a session with all that it started, and forget it; the VM stays."""
        if session.there:
            login = await self.way_in(session)
            await self._run(login, multiplexer.kill_command(session.name), "")
        with self._book.edit() as records:
            record = records.get(session.name)
            if record is not None and record.vm == session.vm:
                del records[session.name]

    def check_running(self, session: Session) -> None:
        """Raise SupervisorError if there is nobody in a session to return to."""
        self.check_there(session)
        if session.state is SessionState.ENDED:
            raise SupervisorError(
                f"{session.name}: {session.note}",
                hint=f"`tachikoma daemon logs {session.name}` shows what it said; "
                f"`tachikoma daemon kill {session.name}` forgets it",
            )

    def check_there(self, session: Session) -> None:
        """Raise SupervisorError if tmux has nothing of a session any more."""
        if not session.there:
            raise SupervisorError(
                f"{session.name}: {session.note or session.state}",
                hint=f"`tachikoma daemon kill {session.name}` forgets it; "
                f"`tachikoma daemon bg {session.branch}` starts another",
            )

    async def _recorded(self, spawned: SpawnOutcome, name: str | None) -> SessionRecord:
        """Record a session under a name that nobody has."""
        if name is not None and not multiplexer.is_name(name):
            raise SupervisorError(
                f"{name!r} is no name for a session",
                hint=f"lower-case letters, digits and hyphens: {slugify(name)}",
            )
        taken = {each.name: each for each in await self.survey()}
        with self._book.edit() as records:
            if name is not None and (name in taken or name in records):
                there = taken.get(name)
                ended = there is not None and there.state is SessionState.ENDED
                raise SupervisorError(
                    f"there is a session {name} already" + (", which has ended" if ended else ""),
                    hint=f"`tachikoma daemon kill {name}` removes it; "
                    f"`tachikoma daemon attach {name}` returns to it",
                )
            free = name or _free(slugify(spawned.branch), {*taken, *records})
            record = SessionRecord(
                free, spawned.name, spawned.branch, spawned.worktree, self._ports.clock.now()
            )
            records[free] = record
        return record

    async def _start(self, record: SessionRecord, login: Login, program: Sequence[str]) -> None:
        command = multiplexer.start_command(record.name, program)
        status, _, said = await self._run(login, command, str(record.worktree))
        if status != 0:
            raise _not_started(record, status, said)

    async def _look(self, record: VmRecord) -> dict[str, Seen] | str:
        """Ask a VM for its sessions; a text says why that cannot be known."""
        try:
            async with asyncio.timeout(_LOOK_S):
                endpoint = await self._ports.hypervisor.address(record.name)
                if endpoint is None:
                    return "its VM has no address yet"
                user = self._ports.settings.ssh_user
                login = self._ports.shell.login(record.name, endpoint, user)
                _, said, _ = await self._run(login, multiplexer.list_command(), "")
        except TimeoutError:
            return "its VM does not answer"
        except TachikomaError as error:
            return f"its VM does not answer: {error.message}"
        return multiplexer.decode(said)

    async def _run(
        self, login: Login, command: Sequence[str], directory: str
    ) -> tuple[int, str, str]:
        """Run a command in a VM; gives its exit status and what it said on each output."""
        out, err = bytearray(), bytearray()

        def kept(into: bytearray) -> Callable[[bytes], None]:
            return lambda data: into.extend(data[: max(0, _MOST_SAID - len(into))])

        status = await self._ports.shell.run(
            login, command, directory=directory, stdin=None,
            on_stdout=kept(out), on_stderr=kept(err),
        )  # fmt: skip
        return status, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


def chosen_of(sessions: Sequence[Session], name: str | None, vm: VmName | None) -> list[Session]:
    """Give the sessions that a word could mean, by its best meaning (pure)."""
    if name is None:
        return [each for each in sessions if each.vm == vm] or list(sessions)
    meanings: tuple[Callable[[Session], bool], ...] = (
        lambda each: each.name == name,
        lambda each: name in (each.branch, each.vm),
        lambda each: each.name.startswith(name),
    )
    for means in meanings:
        if found := [each for each in sessions if means(each)]:
            return found
    return []


def _runs(state: VmState) -> bool:
    return state is VmState.RUNNING


def _free(base: str, taken: set[str]) -> str:
    number = 1
    while (name := base if number == 1 else f"{base}-{number}") in taken:
        number += 1
    return name


def _joined(record: SessionRecord, seen: dict[str, Seen] | str | None, there: bool) -> Session:  # noqa: FBT001 - read as a sentence at its one caller
    """Join what is recorded of a session with what its VM says; None where it does not run."""

    def so(state: SessionState, note: str = "", found: Seen | None = None) -> Session:
        return Session(
            record.name, record.vm, record.branch, record.worktree, record.created, state, note,
            found.attached if found else 0, there=found is not None,
        )  # fmt: skip

    match seen:
        case None:
            return so(SessionState.ENDED, "its VM was stopped" if there else "its VM is gone")
        case str(why):
            return so(SessionState.UNKNOWN, why)
        case _ if (found := seen.get(record.name)) is None:
            return so(SessionState.ENDED, "its VM was started anew")
        case _ if found.status is not None:
            return so(SessionState.ENDED, _how(found.status), found)
        case _:
            return so(SessionState.RUNNING, "", found)


def _unrecorded(vm: VmRecord, seen: Seen) -> Session:
    """Give a session that only its VM knows of."""
    ended = seen.status is not None
    return Session(
        seen.name, vm.name, vm.branch, vm.worktree, seen.created,
        SessionState.ENDED if ended else SessionState.RUNNING,
        _how(seen.status) if seen.status is not None else "", seen.attached, there=True,
    )  # fmt: skip


def _how(status: int) -> str:
    return "Claude Code has ended" + (f" with status {status}" if status else "")


def _not_started(record: SessionRecord, status: int, said: str) -> TachikomaError:
    vm = record.vm
    match status:
        case multiplexer.NO_TMUX:
            return SupervisorError(
                f"{vm} has no tmux, which background sessions live in",
                hint=f"`tachikoma exec {vm} -- sudo apt-get install -y tmux` where the VM reaches "
                "a mirror (`tachikoma egress allow`); or destroy it and spawn it from a newer "
                "image (`tachikoma image build`)",
            )
        case multiplexer.NO_CLAUDE:
            return SupervisorError(
                f"{vm} has no Claude Code",
                hint="destroy it and spawn it again: provisioning installs it",
            )
        case multiplexer.TAKEN:
            return SupervisorError(
                f"there is a session {record.name} already, in {vm}",
                hint=f"`tachikoma daemon attach {record.name}` returns to it",
            )
        case _:
            return SshError(
                f"tmux in {vm} starts no session (status {status})",
                hint=f"`tachikoma enter {vm}` lets you look",
                details=said.strip(),
            )
