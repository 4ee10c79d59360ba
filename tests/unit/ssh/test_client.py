from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tachikoma.host import tasks
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.host.paths import paths_from
from tachikoma.model.errors import SshError, SshUnreachableError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.ssh.openssh import OpenSsh
from tests.doubles import ssh_server, sshd

pytestmark = pytest.mark.live

VM = VmName("tachikoma-repo-x")
OTHER = VmName("tachikoma-repo-y")


@dataclass
class Guest:
    """A VM played by a server on the loopback."""

    shell: OpenSsh
    endpoint: Endpoint
    user: str
    said: bytearray = field(default_factory=bytearray)

    async def run(
        self,
        *command: str,
        stdin: int | None = None,
        take: Callable[[bytes], None] | None = None,
    ) -> int:
        return await self.shell.run(
            self.shell.login(VM, self.endpoint, self.user),
            command,
            directory="",
            stdin=stdin,
            on_stdout=take or self.said.extend,
            on_stderr=self.said.extend,
        )


@pytest.fixture
def server() -> Iterator[ssh_server.SshServer]:
    with ssh_server.serving(OpenSsh(paths=paths_from(os.environ)).ensure_key()) as server:
        yield server


@pytest.fixture
def stand_in(server: ssh_server.SshServer) -> Guest:
    shell = OpenSsh(paths=paths_from(os.environ))
    shell.pin(VM, [server.host_key])
    return Guest(shell, Endpoint("127.0.0.1", server.port), "admin")


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    if reason := sshd.why_not():
        pytest.skip(reason)
    shell = OpenSsh(paths=paths_from(os.environ))
    with sshd.serving(tmp_path, shell.ensure_key()) as daemon:
        shell.pin(VM, [daemon.host_key])
        yield Guest(shell, Endpoint("127.0.0.1", daemon.port), daemon.user)


async def test_another_vm_on_the_same_port_is_refused(stand_in: Guest, tmp_path: Path) -> None:
    stand_in.shell.pin(VM, [sshd.new_key(tmp_path / "other")])
    with pytest.raises(SshUnreachableError, match="unexpected host key"):
        await stand_in.run("true")


async def test_another_key_of_the_same_type_is_refused(
    guest: Guest, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    guest.shell.pin(VM, [sshd.new_key(tmp_path / "other")])
    with pytest.raises(SshUnreachableError, match="unexpected host key"):
        await guest.run("true")
    assert capfd.readouterr() == ("", "")


async def test_a_vm_that_does_not_take_our_key_is_told_from_one_that_is_away(
    stand_in: Guest, capfd: pytest.CaptureFixture[str]
) -> None:
    key = paths_from(os.environ).ssh_key
    key.unlink()
    stand_in.shell.ensure_key()
    with pytest.raises(SshError, match="does not let admin in") as caught:
        await stand_in.run("true")
    assert not isinstance(caught.value, SshUnreachableError)
    assert caught.value.hint
    assert capfd.readouterr() == ("", "")


async def test_a_private_key_that_is_garbage_is_named(stand_in: Guest) -> None:
    key = paths_from(os.environ).ssh_key
    key.write_text("garbage")
    with pytest.raises(SshError, match=str(key)):
        await stand_in.run("true")


async def test_a_connection_that_ends_is_no_exit_status(
    stand_in: Guest, server: ssh_server.SshServer
) -> None:
    server.drops = True
    with pytest.raises(SshUnreachableError, match="ended before the command did"):
        await stand_in.run("true")


async def test_what_is_no_ssh_server_is_unreachable(
    stand_in: Guest, capfd: pytest.CaptureFixture[str]
) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 no\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    stand_in.endpoint = Endpoint(*listener.sockets[0].getsockname())
    async with listener:
        with pytest.raises(SshUnreachableError, match="does not speak SSH"):
            await stand_in.run("true")
    assert capfd.readouterr() == ("", "")


async def test_255_is_a_status_like_any_other(stand_in: Guest) -> None:
    assert await stand_in.run("sh", "-c", "exit 255") == 255


async def test_input_that_stays_open_does_not_keep_a_command_that_has_ended(guest: Guest) -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, b"hello")
        assert await guest.run("head", "-c", "3", stdin=reading) == 0
        assert guest.said == b"hel"
    finally:
        os.close(reading)
        os.close(writing)


async def test_a_command_gets_signals_as_usual(guest: Guest) -> None:
    await guest.run("sh", "-c", "grep SigIgn /proc/self/status")
    ignored = int(guest.said.split()[1], 16)
    assert ignored & 0b110 == 0  # neither SIGINT nor SIGQUIT


async def test_a_hundred_megabytes_pass_through_little_memory(guest: Guest) -> None:
    size, seen = 100 << 20, 0

    def count(data: bytes) -> None:
        nonlocal seen
        seen += len(data)

    await guest.run("true")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert await guest.run("head", "-c", str(size), "/dev/zero", take=count) == 0
    assert seen == size
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 * 1024


async def test_an_error_of_the_one_who_reads_ends_the_command(guest: Guest) -> None:
    def full(_data: bytes) -> None:
        raise BrokenPipeError("the reader has gone")

    with pytest.raises(BrokenPipeError):
        await guest.run("yes", take=full)


async def test_cancelling_ends_the_command_with_all_that_it_started(guest: Guest) -> None:
    nap = f"{10_000 + time.monotonic_ns() % 10_000}.25"
    script = f"trap '' INT; sleep {nap} & sleep {nap}; echo survived"
    command = tasks.spawn(guest.run("sh", "-c", script), name="command")
    assert await comes_to(2, ["sleep", nap])
    await tasks.end(command)
    assert command.cancelled()
    assert await comes_to(0, ["sleep", nap])
    assert guest.said == b""


async def test_a_command_that_ignores_being_asked_is_killed(guest: Guest) -> None:
    nap = f"{30_000 + time.monotonic_ns() % 10_000}.25"
    script = f"trap '' TERM; while :; do sleep {nap}; done"
    command = tasks.spawn(guest.run("sh", "-c", script), name="command")
    assert await comes_to(1, ["sleep", nap])
    await tasks.end(command)
    assert await comes_to(0, ["sleep", nap])
    assert await comes_to(0, ["sh", "-c", script])


async def comes_to(count: int, argv: Sequence[str]) -> bool:
    """Wait until that many processes have this argv."""
    wanted = b"".join(os.fsencode(part) + b"\0" for part in argv)
    async for _ in attempts(SystemClock(), deadline_s=10):
        if sum(_command_line(entry) == wanted for entry in Path("/proc").iterdir()) == count:
            return True
    return False


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes() if process.name.isdigit() else b""
    except OSError:
        return b""
