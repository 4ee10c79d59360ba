"""Running a command in the guest through its agent.

What nobody watches is captured by the agent itself: two questions, and the answer holds all.
What somebody watches writes to two files in the guest's memory, which are read while it runs.
Either way the command leads a process group of its own, by which it can be ended.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from tachikoma.host import tasks
from tachikoma.host.clock import Clock
from tachikoma.hypervisor.port import OnOutput
from tachikoma.hypervisor.qemu.agent import Agent, Line, Refused
from tachikoma.model.errors import AgentError
from tachikoma.model.vm import GuestCommand, GuestExit, Stream

MOST_OUTPUT = 64 << 20
"""More output than this is not held in memory: the command is ended and the caller told.

What nobody watches is bounded by the agent, at 16 MiB.
"""

_TURN_S = 60.0
_END_S = 10.0
_FIRST_TURN_S = 0.5
_QUICK_PAUSE_S = 0.004
_PAUSE_S = 0.15
_PIECE = 256 << 10
_PIECES_A_TURN = 16
_STREAMS: Final[tuple[Stream, Stream]] = ("stdout", "stderr")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ROOT_ENVIRONMENT = (
    f"PATH={_PATH}",
    "HOME=/root",
    "USER=root",
    "LOGNAME=root",
    "SHELL=/bin/bash",
    "LANG=C.UTF-8",
)
# The command itself arrives as arguments and is never part of a script.
_INTO_FILES = 'umask 077 && mkdir "$1" && exec >"$1/stdout" 2>"$1/stderr" && shift && exec "$@"'
# Without `--` before the group: dash would take that for a process.
_END = (
    "for signal in TERM KILL; do"
    ' kill -$signal "-$1" 2>/dev/null || kill -$signal "$1" 2>/dev/null || exit 0; sleep 1;'
    " done"
)


@dataclass(slots=True)
class _Output:
    """What the command has said, and whether that is still bearable."""

    most: int
    pieces: dict[Stream, list[bytes]] = field(default_factory=lambda: {s: [] for s in _STREAMS})
    size: int = 0

    def add(self, stream: Stream, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > self.most:
            raise _too_much()
        self.pieces[stream].append(piece)

    def whole(self, status: int) -> GuestExit:
        return GuestExit(status, *(b"".join(self.pieces[stream]) for stream in _STREAMS))


async def execute(
    agent: Agent,
    command: GuestCommand,
    on_output: OnOutput | None,
    clock: Clock,
    *,
    most_output: int = MOST_OUTPUT,
) -> GuestExit:
    """Run ``command`` to its end; see ``Hypervisor.execute`` for what is promised.

    Raises:
        AgentError: as promised there.
    """
    started = _Started(agent=agent, clock=clock)
    try:
        async with asyncio.timeout(command.deadline_s):
            if on_output is None:
                return await _captured(started, command)
            output = _Output(most=most_output)
            return await _watched(started, command, output, on_output)
    except TimeoutError as error:
        await started.end()
        raise AgentError(
            f"`{command.argv[0]}` in the guest took longer than {command.deadline_s:g} s",
            hint="it has been ended; its console log may tell what the guest was busy with",
        ) from error
    except BaseException:
        await started.end()
        raise


class _Started:
    """A command that may run in the guest, and the turns in which it is asked after."""

    def __init__(self, *, agent: Agent, clock: Clock) -> None:
        self._agent = agent
        self._clock = clock
        self._pid: int | None = None
        self.directory: str | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Line]:
        async with self._agent.turn(deadline_s=_TURN_S) as line:
            yield line

    async def start(self, line: Line, command: GuestCommand, directory: str | None) -> None:
        self.directory = directory
        argv = _argv(command)
        if directory is not None:
            argv = ["/bin/sh", "-c", _INTO_FILES, "tachikoma", directory, *argv]
        arguments: dict[str, Any] = {
            "path": argv[0],
            "arg": argv[1:],
            "env": ROOT_ENVIRONMENT,
            "capture-output": directory is None,
        }
        if command.stdin:
            arguments["input-data"] = base64.b64encode(command.stdin).decode()
        self._pid = (await line.ask("guest-exec", **arguments))["pid"]

    async def status(self, line: Line) -> dict[str, Any] | None:
        """Give how the command ended; None while it runs."""
        answer: dict[str, Any] = await line.ask("guest-exec-status", pid=self._pid)
        if not answer["exited"]:
            return None
        self._pid = None
        return answer

    async def until_ended(self, line: Line, *, within_s: float) -> dict[str, Any] | None:
        end = self._clock.monotonic() + within_s
        while True:
            if (answer := await self.status(line)) is not None:
                return answer
            if self._clock.monotonic() > end:
                return None
            await self._clock.sleep(_QUICK_PAUSE_S)

    async def pause(self) -> None:
        await self._clock.sleep(_PAUSE_S)

    async def end(self) -> None:
        """End the command if it runs, and see to it that a second cancel does not stop that."""
        if self._pid is None and self.directory is None:
            return
        ending = tasks.spawn(self._end(), name="end a guest command")
        await asyncio.shield(ending)

    async def _end(self) -> None:
        pid = self._pid
        try:
            async with self._agent.turn(deadline_s=_END_S) as line:
                if pid is not None:
                    await _run_aside(line, "/bin/sh", "-c", _END, "tachikoma", str(pid))
                    await self.until_ended(line, within_s=_END_S / 2)
                await self.tidy(line)
        except AgentError:
            return  # it does not answer any more: nothing can be ended through it

    async def tidy(self, line: Line) -> None:
        """Remove the files of the command."""
        if self.directory is not None:
            await _run_aside(line, "/bin/rm", "-rf", "--", self.directory)
            self.directory = None


async def _captured(started: _Started, command: GuestCommand) -> GuestExit:
    async with started.turn() as line:
        await started.start(line, command, None)
        ended = await started.until_ended(line, within_s=_FIRST_TURN_S)
    while ended is None:
        await started.pause()
        async with started.turn() as line:
            ended = await started.status(line)
    if ended.get("out-truncated") or ended.get("err-truncated"):
        raise _too_much()
    return GuestExit(
        _exit_status(ended),
        base64.b64decode(ended.get("out-data", "")),
        base64.b64decode(ended.get("err-data", "")),
    )


async def _watched(
    started: _Started, command: GuestCommand, output: _Output, on_output: OnOutput
) -> GuestExit:
    """As ``_captured``, with ``on_output`` called between the turns and never within one."""
    files: dict[Stream, int] = {}
    async with started.turn() as line:
        await started.start(line, command, f"/run/tachikoma-{secrets.token_hex(8)}")
        ended = await started.until_ended(line, within_s=_FIRST_TURN_S / 4)
        news, drained = await _read(line, started, files, last=ended is not None)
    while True:
        for stream, piece in news:
            output.add(stream, piece)
            on_output(stream, piece)
        if ended is not None and drained:
            return output.whole(_exit_status(ended))
        if ended is None:
            await started.pause()
        async with started.turn() as line:
            # Asked in this order: what was written before the end is then read after it.
            ended = ended or await started.status(line)
            news, drained = await _read(line, started, files, last=ended is not None)


async def _read(
    line: Line, started: _Started, files: dict[Stream, int], *, last: bool
) -> tuple[list[tuple[Stream, bytes]], bool]:
    """Read what is new, within bounds, and tell whether that was all; tidy up if ``last``."""
    news: list[tuple[Stream, bytes]] = []
    drained = True
    for stream in _STREAMS:
        if stream not in files and not await _open(line, started, files, stream, last=last):
            return news, False  # the command has not come so far yet
        for _ in range(_PIECES_A_TURN):
            answer = await line.ask("guest-file-read", handle=files[stream], count=_PIECE)
            if answer["count"]:
                news.append((stream, base64.b64decode(answer["buf-b64"])))
            if answer["eof"]:
                break
        else:
            drained = False
    if last and drained:
        for handle in files.values():
            await line.ask("guest-file-close", handle=handle)
        await started.tidy(line)
    return news, drained


async def _open(
    line: Line, started: _Started, files: dict[Stream, int], stream: Stream, *, last: bool
) -> bool:
    try:
        path = f"{started.directory}/{stream}"
        files[stream] = await line.ask("guest-file-open", path=path, mode="r")
    except Refused:
        if last:
            raise
        return False
    return True


async def _run_aside(line: Line, *argv: str) -> None:
    await line.ask("guest-exec", path=argv[0], arg=argv[1:])


def _argv(command: GuestCommand) -> list[str]:
    """Give the argv that runs ``command`` as its user, in a session and process group of its own.

    The user's group is the one of the same name, as useradd makes it.
    """
    session = ["/usr/bin/setsid", "--wait"]
    if command.user == "root":
        return [*session, "--", *command.argv]
    identity = ["--reuid", command.user, "--regid", command.user, "--init-groups", "--reset-env"]
    return [*session, "/usr/bin/setpriv", *identity, "--", *command.argv]


def _exit_status(ended: dict[str, Any]) -> int:
    return 128 + int(ended["signal"]) if "signal" in ended else int(ended["exitcode"])


def _too_much() -> AgentError:
    return AgentError(
        "a command in the guest said more than can be taken over the agent's line",
        hint="use `tachikoma exec`, which streams, or write to a file in the worktree",
    )
