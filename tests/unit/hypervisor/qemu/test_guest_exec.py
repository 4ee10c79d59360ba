from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest

from tachikoma.host.clock import SystemClock
from tachikoma.hypervisor.port import OnOutput
from tachikoma.hypervisor.qemu.agent import Agent
from tachikoma.hypervisor.qemu.guest_exec import execute
from tachikoma.model.errors import AgentError
from tachikoma.model.vm import GuestCommand, GuestExit, Stream
from tests.doubles.guest_agent import GuestAgent, Process

pytestmark = pytest.mark.live

SESSION = ["/usr/bin/setsid", "--wait"]


@pytest.fixture
def socket(own_home: Path) -> Path:
    return own_home / "agent.sock"


def ignore(_stream: Stream, _piece: bytes) -> None:
    pass


async def run(
    guest: GuestAgent, socket: Path, command: GuestCommand, on_output: OnOutput | None = None
) -> GuestExit:
    clock = SystemClock()
    async with guest.listening(socket):
        return await execute(Agent(socket=socket, clock=clock), command, on_output, clock)


async def test_status_and_both_outputs_come_back(socket: Path) -> None:
    guest = GuestAgent()
    guest.process = Process([b"out"], [b"err"], {"exitcode": 7})
    assert await run(guest, socket, GuestCommand(("x",))) == GuestExit(7, b"out", b"err")


async def test_a_signal_is_told_as_a_shell_tells_it(socket: Path) -> None:
    guest = GuestAgent()
    guest.process = Process(ended={"signal": 9})
    assert (await run(guest, socket, GuestCommand(("x",)))).status == 137


async def test_arguments_go_to_the_guest_as_they_are(socket: Path) -> None:
    guest = GuestAgent()
    odd = ("a b", "$(x)", "", "é'\"\n")
    await run(guest, socket, GuestCommand(("prog", *odd)))
    assert guest.commands == [[*SESSION, "--", "prog", *odd]]


async def test_another_user_gets_an_environment_and_groups_of_its_own(socket: Path) -> None:
    guest = GuestAgent()
    await run(guest, socket, GuestCommand(("prog",), user="admin"))
    identity = ["--reuid", "admin", "--regid", "admin", "--init-groups", "--reset-env"]
    assert guest.commands == [[*SESSION, "/usr/bin/setpriv", *identity, "--", "prog"]]


async def test_standard_input_is_handed_over(socket: Path) -> None:
    guest = GuestAgent()
    await run(guest, socket, GuestCommand(("cat",), stdin=b"\0\xff" * 500_000))
    sent = guest.asked("guest-exec")[0]["input-data"]
    assert base64.b64decode(sent) == b"\0\xff" * 500_000


async def test_output_is_seen_while_the_command_runs(socket: Path) -> None:
    guest = GuestAgent()
    pieces = [b"one\n"] + [b""] * 32 + [b"two\n"]
    guest.process = Process(pieces, [b"", b"oops\n"])
    seen: list[tuple[Stream, bytes, bool]] = []

    def see(stream: Stream, piece: bytes) -> None:
        seen.append((stream, piece, guest.process.done))

    ended = await run(guest, socket, GuestCommand(("x",)), see)
    assert ended == GuestExit(0, b"one\ntwo\n", b"oops\n")
    assert ("stdout", b"one\n", False) in seen
    assert seen[-1] == ("stdout", b"two\n", True)


async def test_watched_commands_leave_no_files_in_the_guest(socket: Path) -> None:
    guest = GuestAgent()
    guest.process = Process([b"x"])
    await run(guest, socket, GuestCommand(("x",)), ignore)
    directory = guest.commands[0][4]
    assert directory.startswith("/run/tachikoma-")
    assert guest.commands[-1] == ["/bin/rm", "-rf", "--", directory]
    assert len(guest.asked("guest-file-close")) == 2


async def test_a_command_that_takes_too_long_is_ended(socket: Path) -> None:
    guest = GuestAgent()
    guest.process = Process(ends=False)
    with pytest.raises(AgentError, match=r"`sleep` in the guest took longer than 0\.2 s"):
        await run(guest, socket, GuestCommand(("sleep",), deadline_s=0.2))
    assert guest.process.killed


async def test_a_cancelled_command_is_ended(socket: Path) -> None:
    guest = GuestAgent()
    guest.process = Process(ends=False)
    started = asyncio.Event()
    guest.process.stdout.append(b"here\n")

    def see(_stream: Stream, _piece: bytes) -> None:
        started.set()

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(run(guest, socket, GuestCommand(("sleep",)), see))
        await started.wait()
        running.cancel()
    assert guest.process.killed


async def test_output_cut_short_by_the_agent_is_no_success(socket: Path) -> None:
    guest = GuestAgent()
    guest.process = Process(ended={"exitcode": 0, "out-truncated": True})
    with pytest.raises(AgentError, match="said more than"):
        await run(guest, socket, GuestCommand(("x",)))


async def test_more_output_than_memory_should_hold_ends_the_command(socket: Path) -> None:
    guest = GuestAgent()
    guest.process = Process([b"x" * 2000], ends=False)
    agent, clock = Agent(socket=socket, clock=SystemClock()), SystemClock()
    async with guest.listening(socket):
        with pytest.raises(AgentError, match="said more than"):
            await execute(agent, GuestCommand(("yes",)), ignore, clock, most_output=1999)
    assert guest.process.killed


async def test_an_error_of_the_listener_is_its_own_and_ends_the_command(socket: Path) -> None:
    guest = GuestAgent()
    guest.process = Process([b"x"], ends=False)

    def broken(_stream: Stream, _piece: bytes) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await run(guest, socket, GuestCommand(("x",)), broken)
    assert guest.process.killed
