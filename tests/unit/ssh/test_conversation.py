from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tachikoma.host import tasks
from tachikoma.model.errors import SshUnreachableError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.ssh.conversation import Outputs, Talk, hold
from tachikoma.ssh.port import Login

pytestmark = pytest.mark.live

VM = VmName("tachikoma-repo-x")


@pytest.fixture
async def login() -> AsyncIterator[Login]:
    """Something that listens, never says a word, and sees when we go."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield Login(
            VM, Endpoint(*server.sockets[0].getsockname()), "admin", Path("/k"), Path("/known")
        )


async def test_what_is_said_arrives_in_order_and_before_the_status(login: Login) -> None:
    out: list[bytes] = []
    err: list[bytes] = []

    def speak(talk: Talk, outputs: Outputs) -> int:
        for number in range(1000):
            talk.hand_over(outputs.stdout, b"%d" % number)
        talk.hand_over(outputs.stderr, b"e")
        return 5

    outputs = Outputs(stdout=out.append, stderr=err.append)
    assert await hold(login, "ls", stdin=None, outputs=outputs, speak=speak) == 5
    assert out == [b"%d" % number for number in range(1000)]
    assert err == [b"e"]


async def test_an_error_in_the_thread_is_raised_in_the_loop(login: Login) -> None:
    def speak(_talk: Talk, _outputs: Outputs) -> int:
        raise SshUnreachableError("away", hint="wait")

    with pytest.raises(SshUnreachableError, match="away"):
        await hold(login, "ls", stdin=None, outputs=Outputs(print, print), speak=speak)


async def test_cancelling_wakes_whatever_waits_on_the_connection(login: Login) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    def speak(talk: Talk, _outputs: Outputs) -> int:
        talk.in_loop(begun.set)
        talk.connection.settimeout(10)
        assert talk.connection.recv(1) == b""
        talk.in_loop(ended.set)
        return 0

    talking = tasks.spawn(
        hold(login, "ls", stdin=None, outputs=Outputs(print, print), speak=speak), name="talk"
    )
    async with asyncio.timeout(10):
        await begun.wait()
        await tasks.end(talking)
    assert talking.cancelled()
    assert ended.is_set()


async def test_a_reader_that_fails_ends_the_conversation_with_its_error(login: Login) -> None:
    def speak(talk: Talk, outputs: Outputs) -> int:
        talk.hand_over(outputs.stdout, b"x")
        talk.connection.settimeout(10)
        if talk.connection.recv(1) == b"":
            raise SshUnreachableError("hung up", hint="")
        return 0

    def full(_data: bytes) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await hold(login, "ls", stdin=None, outputs=Outputs(full, print), speak=speak)


async def test_a_closed_port_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        endpoint = Endpoint(*gone.getsockname())
    login = Login(VM, endpoint, "admin", Path("/k"), Path("/known"))
    with pytest.raises(SshUnreachableError, match="Connection refused"):
        await hold(login, "ls", stdin=None, outputs=Outputs(print, print), speak=lambda _t, _o: 0)
