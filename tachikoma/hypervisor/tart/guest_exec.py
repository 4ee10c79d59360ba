"""Running a command in the guest by `tart exec`."""

from __future__ import annotations

import asyncio
import contextlib
import secrets

from tachikoma.host import tasks
from tachikoma.hypervisor.port import OnOutput
from tachikoma.hypervisor.tart import argv, sentinel
from tachikoma.hypervisor.tart.program import Program
from tachikoma.hypervisor.tart.refusals import NOISE, translated
from tachikoma.hypervisor.tart.sentinel import Sentinel
from tachikoma.model.errors import (
    AgentError,
    CommandFailed,
    TachikomaError,
    VmNotFoundError,
    VmNotRunningError,
)
from tachikoma.model.names import VmName
from tachikoma.model.vm import GuestCommand, GuestExit, Stream

MOST_OUTPUT = 64 << 20
"""More output than this is not held in memory: the command is ended and the caller told."""

_END_S = 10.0
_BEFORE_SENTINEL = "Tart ended before the guest's command did"


class _Session:
    """One command in the guest: what it has said, and how it ended if it has."""

    def __init__(self, on_output: OnOutput | None, most: int) -> None:
        self._on_output = on_output
        self._most = most
        self._pieces: dict[Stream, list[bytes]] = {"stdout": [], "stderr": []}
        self._size = 0
        self.mark = secrets.token_hex(8)
        self.sentinel = Sentinel(self.mark)

    def hear(self, stream: Stream, piece: bytes) -> None:
        """Take a piece of what comes out of `tart exec`."""
        self._add(stream, self.sentinel.hear(piece) if stream == "stdout" else piece)

    def close(self) -> None:
        """Take what was held back: there comes no more."""
        self._add("stdout", self.sentinel.rest())

    def said(self, stream: Stream) -> bytes:
        """Give all of one stream."""
        return b"".join(self._pieces[stream])

    def _add(self, stream: Stream, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._most:
            raise AgentError(
                "a command in the guest said more than can be held",
                hint="use `tachikoma exec`, which streams, or write to a file in the worktree",
            )
        if piece:
            self._pieces[stream].append(piece)
            if self._on_output is not None:
                self._on_output(stream, piece)


async def execute(
    program: Program,
    vm: VmName,
    command: GuestCommand,
    on_output: OnOutput | None,
    *,
    most_output: int = MOST_OUTPUT,
) -> GuestExit:
    """Run ``command`` to its end; see ``Hypervisor.execute`` for what is promised.

    Raises:
        VmNotRunningError, AgentError: as promised there.
    """
    session = _Session(on_output, most_output)
    inside = sentinel.wrapped(command.argv, user=command.user, mark=session.mark)
    line = argv.exec_argv(vm, inside, stdin=bool(command.stdin))
    try:
        status = await program.listen(
            line, session.hear, deadline_s=command.deadline_s, stdin=command.stdin
        )
        session.close()
    except CommandFailed as error:
        await _end(program, vm, session)
        raise AgentError(
            f"`{command.argv[0]}` in the guest took longer than {command.deadline_s:g} s",
            hint="it has been ended"
            if session.sentinel.pid is not None
            else "it had not begun: the guest's agent does not answer; see the VM's log",
        ) from error
    except BaseException:
        await _end(program, vm, session)
        raise
    if session.sentinel.status is None:
        raise _failed(vm, status, session.said("stderr").decode("utf-8", "replace"))
    return GuestExit(
        session.sentinel.status, session.said("stdout"), _without_noise(session.said("stderr"))
    )


def _failed(vm: VmName, status: int, said: str) -> TachikomaError:
    """Give the error for a `tart exec` that never told how the command ended."""
    error = translated("exec", status, said)
    if isinstance(error, VmNotFoundError | VmNotRunningError):
        return VmNotRunningError(f"the VM {vm} does not run", hint="`tachikoma spawn` starts it")
    if isinstance(error, AgentError):
        return type(error)(f"{vm}: {error.message}", hint=error.hint, details=error.details)
    if status == 0:  # Tart takes a stream that breaks off for a good end
        return AgentError(
            f"{vm}: {_BEFORE_SENTINEL}", hint="the VM may have stopped: `tachikoma status`"
        )
    return AgentError(f"{vm}: {error.message}", hint=error.hint, details=error.details)


async def _end(program: Program, vm: VmName, session: _Session) -> None:
    """End the command in the guest if it has begun; a second cancel does not stop that.

    Tart's agent kills no more than the outermost process when its line breaks.
    """
    pid = session.sentinel.pid
    if pid is None or session.sentinel.status is not None:
        return

    async def end() -> None:
        with contextlib.suppress(TachikomaError):
            line = argv.exec_argv(vm, sentinel.ending(pid), stdin=False)
            await program.text(line, deadline_s=_END_S)

    await asyncio.shield(tasks.spawn(end(), name="end a guest command"))


def _without_noise(said: bytes) -> bytes:
    """Give standard error without what Tart may say in it before it does anything."""
    first, newline, after = said.partition(b"\n")
    return after if newline and first.startswith(NOISE.encode()) else said
