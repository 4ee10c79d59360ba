from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.host.clock import SystemClock
from tachikoma.model.errors import PortTakenError, SshUnreachableError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.ssh.forwards import SshForwards, forward_argv
from tachikoma.ssh.port import Login
from tests.doubles import sshd

VM = VmName("tachikoma-app-x")


def test_ssh_forwards_on_the_loopback_alone_and_does_nothing_else() -> None:
    login = Login(VM, Endpoint("192.168.64.7", 22), "admin", Path("/key"), Path("/known"))
    argv = forward_argv(login, guest_port=3000, host_port=8080)
    assert argv[:6] == ["ssh", "-F", "/dev/null", "-N", "-T", "-n"]
    assert argv[argv.index("-L") + 1] == "127.0.0.1:8080:localhost:3000"
    assert "ExitOnForwardFailure=yes" in argv
    assert "ClearAllForwardings=yes" not in argv
    assert "StrictHostKeyChecking=yes" in argv
    assert argv[-6:] == ["-p", "22", "-l", "admin", "--", "192.168.64.7"]


@pytest.fixture
def login(tmp_path: Path) -> Iterator[Login]:
    """A guest whose SSH server is a process of this machine."""
    if why := sshd.why_not():
        pytest.skip(why)
    line = sshd.new_key(tmp_path / "key")
    with sshd.serving(tmp_path, line) as server:
        known = tmp_path / "known"
        known.write_text(f"{VM} {server.host_key}\n")
        yield Login(VM, Endpoint("127.0.0.1", server.port), server.user, tmp_path / "key", known)


@pytest.fixture
def service() -> Iterator[int]:
    """Something that listens on the guest's loopback and says ``hello``."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(b"hello")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=5)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def says(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return connection.recv(5)


@pytest.mark.live
async def test_a_port_is_forwarded_found_again_and_closed(
    login: Login, service: int, tmp_path: Path
) -> None:
    forwards = SshForwards(directory=tmp_path / "forwards", clock=SystemClock())
    port = free_port()
    made = await forwards.open(login, guest_port=service, host_port=port)
    assert says(port) == b"hello"
    later = SshForwards(directory=tmp_path / "forwards", clock=SystemClock())
    assert later.all() == [made]
    assert await later.open(login, guest_port=service, host_port=port) == made
    with pytest.raises(PortTakenError, match=f"leads to port {service} of {VM}"):
        await later.open(replace(login, vm=VmName("other")), guest_port=1, host_port=port)
    assert await later.close(VmName("other")) == []
    assert await later.close(VM) == [made]
    assert process.start_time(made.pid) is None
    assert list((tmp_path / "forwards").iterdir()) == []


@pytest.mark.live
async def test_one_whose_process_has_ended_is_forgotten(
    login: Login, service: int, tmp_path: Path
) -> None:
    forwards = SshForwards(directory=tmp_path / "forwards", clock=SystemClock())
    made = await forwards.open(login, guest_port=service, host_port=free_port())
    process.end_process(made.pid, started=process.start_time(made.pid))
    assert forwards.all() == []
    assert list((tmp_path / "forwards").iterdir()) == []


@pytest.mark.live
async def test_a_port_that_is_taken_and_a_vm_that_is_away_leave_nothing_behind(
    login: Login, service: int, tmp_path: Path
) -> None:
    forwards = SshForwards(directory=tmp_path / "forwards", clock=SystemClock())
    with pytest.raises(PortTakenError, match="another program listens there"):
        await forwards.open(login, guest_port=1, host_port=service)
    away = replace(login, endpoint=Endpoint("127.0.0.1", free_port()))
    with pytest.raises(SshUnreachableError) as caught:
        await forwards.open(away, guest_port=1, host_port=free_port())
    assert "Connection refused" in caught.value.details
    assert not list((tmp_path / "forwards").iterdir())
