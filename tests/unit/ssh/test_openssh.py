from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tachikoma.host.paths import Paths, paths_from
from tachikoma.model.errors import SshError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.ssh.openssh import OpenSsh, attach_argv
from tachikoma.ssh.port import Login
from tests.doubles import sshd

VM = VmName("tachikoma-repo-x")
LOGIN = Login(VM, Endpoint("127.0.0.1", 2222), "admin", Path("/h/k"), Path("/h/known"))


def options_of(argv: list[str]) -> set[str]:
    return {argv[i + 1] for i, part in enumerate(argv) if part == "-o"}


def test_the_users_own_ssh_configuration_and_agent_have_no_say() -> None:
    argv = attach_argv(LOGIN, command=[], directory="/w", tty=True)
    assert argv[:4] == ["ssh", "-F", "/dev/null", "-t"]
    assert {
        "StrictHostKeyChecking=yes",
        f"HostKeyAlias={VM}",
        'UserKnownHostsFile="/h/known"',
        "GlobalKnownHostsFile=/dev/null",
        "UpdateHostKeys=no",
        'IdentityFile="/h/k"',
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "PasswordAuthentication=no",
        "ForwardAgent=no",
        "ForwardX11=no",
        "ControlMaster=no",
        "LogLevel=ERROR",
    } <= options_of(argv)
    assert argv[-7:-1] == ["-p", "2222", "-l", "admin", "--", "127.0.0.1"]


def test_without_a_terminal_none_is_asked_for() -> None:
    assert "-T" in attach_argv(LOGIN, command=["ls"], directory="", tty=False)


def test_a_path_is_neither_a_list_nor_a_pattern_for_ssh() -> None:
    login = Login(VM, LOGIN.endpoint, "admin", Path("/a b/%h/k"), Path('/a"b/known'))
    options = options_of(attach_argv(login, command=[], directory="", tty=True))
    assert 'IdentityFile="/a b/%%h/k"' in options
    assert 'UserKnownHostsFile="/a\\"b/known"' in options


def test_a_command_that_is_too_long_is_refused() -> None:
    with pytest.raises(SshError):
        attach_argv(LOGIN, command=["x" * 200_000], directory="", tty=True)


@pytest.mark.live
@pytest.mark.parametrize(
    ("greeting", "expected"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", True),
        (b"welcome\r\nSSH-2.0-x\r\n", True),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"", False),
        (b"SSH-1.5-old\r\n", False),
        (b"x" * 100_000, False),
    ],
)
async def test_only_an_ssh_banner_is_an_answer(greeting: bytes, *, expected: bool) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    endpoint = Endpoint(*server.sockets[0].getsockname())
    async with server:
        assert await OpenSsh(paths=paths_from({})).answers(endpoint, deadline_s=10) is expected


@pytest.mark.live
async def test_a_server_that_says_nothing_is_no_answer_when_the_time_is_over() -> None:
    silent = asyncio.Event()

    async def wait(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    endpoint = Endpoint(*server.sockets[0].getsockname())
    async with server:
        assert not await OpenSsh(paths=paths_from({})).answers(endpoint, deadline_s=0.1)
        silent.set()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    odd = tmp_path / "odd %h 'path\""
    return Paths(odd, odd / "c", odd / "d", odd / "e", odd / "r")


@pytest.fixture
def attached(paths: Paths, tmp_path: Path) -> Iterator[tuple[OpenSsh, Login]]:
    if reason := sshd.why_not():
        pytest.skip(reason)
    shell = OpenSsh(paths=paths)
    with sshd.serving(tmp_path, shell.ensure_key()) as daemon:
        shell.pin(VM, [daemon.host_key])
        yield shell, shell.login(VM, Endpoint("127.0.0.1", daemon.port), daemon.user)


def attach(argv: list[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, input=stdin, capture_output=True, timeout=15, check=False)


@pytest.mark.live
def test_ssh_takes_odd_paths_and_hands_arguments_over(attached: tuple[OpenSsh, Login]) -> None:
    shell, login = attached
    argv = shell.attach_argv(login, command=["printf", "%s|", "a  b", "", "-x\n"], tty=False)
    done = attach(argv)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"a  b||-x\n|", b"")


@pytest.mark.live
def test_a_login_shell_starts_in_the_directory(attached: tuple[OpenSsh, Login]) -> None:
    shell, login = attached
    done = attach(shell.attach_argv(login, directory="/usr", tty=True), b"pwd; exit 3\n")
    assert (done.returncode, done.stdout) == (3, b"/usr\n")


@pytest.mark.live
def test_without_the_directory_the_shell_starts_at_home_and_says_so(
    attached: tuple[OpenSsh, Login],
) -> None:
    shell, login = attached
    done = attach(shell.attach_argv(login, directory="/no/such", tty=True), b"exit 4\n")
    assert done.returncode == 4
    assert b"the VM has no directory /no/such\n" in done.stderr
    assert b"starting in the home directory\n" in done.stderr


@pytest.mark.live
def test_without_the_directory_a_command_does_not_run(
    attached: tuple[OpenSsh, Login], tmp_path: Path
) -> None:
    shell, login = attached
    command = ["touch", str(tmp_path / "ran")]
    assert attach(shell.attach_argv(login, command=command, directory="/no/such")).returncode == 125
    assert not (tmp_path / "ran").exists()


@pytest.mark.live
def test_another_host_key_is_refused(attached: tuple[OpenSsh, Login], tmp_path: Path) -> None:
    shell, login = attached
    shell.pin(VM, [sshd.new_key(tmp_path / "other")])
    done = attach(shell.attach_argv(login, command=["true"], tty=False))
    assert done.returncode == 255
    assert b"Host key verification failed" in done.stderr


def test_login_makes_nothing(paths: Paths) -> None:
    login = OpenSsh(paths=paths).login(VM, LOGIN.endpoint, "admin")
    assert login.key == paths.home / ".ssh" / "tachikoma"
    assert not os.path.lexists(paths.home)
