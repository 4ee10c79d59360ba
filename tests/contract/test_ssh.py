"""What every ``Shell`` promises, over a memory, a paramiko server and OpenSSH's own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tachikoma.host.paths import paths_from
from tachikoma.model.errors import SshError, SshUnreachableError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.ssh.memory import Answer, Asked, MemoryShell
from tachikoma.ssh.openssh import OpenSsh
from tachikoma.ssh.port import Shell
from tests.doubles import ssh_server, sshd

VM = VmName("tachikoma-repo-x")
NOWHERE = Endpoint("127.0.0.1", 1)
HOST_KEY = f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}"


@dataclass
class World:
    """A shell and a VM that it can reach."""

    shell: Shell
    endpoint: Endpoint
    user: str
    host_key: str

    async def run(
        self, *command: str, directory: str = "", stdin: int | None = None
    ) -> tuple[int, bytes, bytes]:
        self.shell.pin(VM, [self.host_key])
        out: list[bytes] = []
        err: list[bytes] = []
        status = await self.shell.run(
            self.shell.login(VM, self.endpoint, self.user),
            command,
            directory=directory,
            stdin=stdin,
            on_stdout=out.append,
            on_stderr=err.append,
        )
        return status, b"".join(out), b"".join(err)


def guest(asked: Asked) -> Answer:
    """Play the few programs that this suite runs."""
    match asked.argv:
        case ["printf", "%s|", *words]:
            return Answer(0, b"".join(os.fsencode(f"{word}|") for word in words))
        case ["cat"]:
            return Answer(0, asked.stdin)
        case ["pwd"]:
            return Answer(0, f"{asked.directory}\n".encode())
        case ["sh", "-c", "echo out; echo err >&2; exit 7"]:
            return Answer(7, b"out\n", b"err\n")
        case ["sh", "-c", "kill -9 $$"]:
            return Answer(137)
        case _:
            return Answer(127, b"", b"not found\n")


@pytest.fixture(
    params=[
        "memory",
        pytest.param("paramiko", marks=pytest.mark.live),
        pytest.param("sshd", marks=pytest.mark.live),
    ]
)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "memory":
        endpoint = Endpoint("127.0.0.1", 2222)
        shell = MemoryShell(respond=guest, listening={endpoint})
        yield World(shell, endpoint, "admin", HOST_KEY)
        return
    real = OpenSsh(paths=paths_from(os.environ))
    key = real.ensure_key()
    if request.param == "paramiko":
        with ssh_server.serving(key) as server:
            yield World(real, Endpoint("127.0.0.1", server.port), "admin", server.host_key)
        return
    if reason := sshd.why_not():
        pytest.skip(reason)
    with sshd.serving(tmp_path, key) as daemon:
        yield World(real, Endpoint("127.0.0.1", daemon.port), daemon.user, daemon.host_key)


def test_the_key_stays_the_same(world: World) -> None:
    line = world.shell.ensure_key()
    assert line.startswith("ssh-ed25519 AAAA")
    assert world.shell.ensure_key() == line


def test_a_login_names_all_that_it_takes(world: World) -> None:
    known_hosts = world.shell.pin(VM, [world.host_key])
    login = world.shell.login(VM, world.endpoint, "admin")
    assert (login.vm, login.endpoint, login.user) == (VM, world.endpoint, "admin")
    assert login.known_hosts == known_hosts


def test_what_is_no_key_is_not_pinned(world: World) -> None:
    for lines in ([], [""], ["ssh-ed25519"], ["ssh-ed25519 !"], ["ssh-rsa " + HOST_KEY.split()[1]]):
        with pytest.raises(SshError):
            world.shell.pin(VM, lines)


async def test_a_server_answers_and_a_closed_port_does_not(world: World) -> None:
    assert await world.shell.answers(world.endpoint, deadline_s=10)
    assert not await world.shell.answers(NOWHERE, deadline_s=10)


@pytest.mark.parametrize(
    "words",
    [
        ["a b", "it's", "", "-x", "--", '"q"', "$HOME", "`id`", "\\n", "*", "a\nb", "\t "],
        ["ünï", "\udcff\udc80", "!", "#", "~", "end"],
    ],
)
async def test_arguments_arrive_as_they_are(world: World, words: Sequence[str]) -> None:
    said = b"".join(os.fsencode(f"{word}|") for word in words)
    assert await world.run("printf", "%s|", *words) == (0, said, b"")


async def test_both_outputs_and_the_status_come_back(world: World) -> None:
    ended = await world.run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert ended == (7, b"out\n", b"err\n")


async def test_a_signal_is_128_and_its_number(world: World) -> None:
    assert await world.run("sh", "-c", "kill -9 $$") == (137, b"", b"")


async def test_a_command_that_is_not_there_is_127(world: World) -> None:
    status, out, err = await world.run("no-such-program")
    assert (status, out) == (127, b"")
    assert b"not found" in err


async def test_a_command_runs_in_its_directory(world: World) -> None:
    assert await world.run("pwd", directory="/usr") == (0, b"/usr\n", b"")


async def test_no_input_is_an_empty_one(world: World) -> None:
    assert await world.run("cat") == (0, b"", b"")


async def test_input_is_forwarded_to_its_end(world: World, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "input").write_bytes(data)
    with (tmp_path / "input").open("rb") as file:
        assert await world.run("cat", stdin=file.fileno()) == (0, data, b"")


async def test_a_vm_that_nothing_is_known_of_is_not_entered(world: World) -> None:
    world.shell.pin(VM, [world.host_key])
    world.shell.forget(VM)
    world.shell.forget(VM)
    login = world.shell.login(VM, world.endpoint, world.user)
    with pytest.raises(SshUnreachableError, match="no host key"):
        await world.shell.run(
            login, ["true"], directory="", stdin=None, on_stdout=print, on_stderr=print
        )


async def test_a_port_where_nobody_listens_is_unreachable(world: World) -> None:
    world.endpoint = NOWHERE
    with pytest.raises(SshUnreachableError) as caught:
        await world.run("true")
    assert caught.value.hint
