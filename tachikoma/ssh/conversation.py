"""One command over SSH, seen from the event loop: a connected socket, a thread, two outputs.

Paramiko blocks, so it talks in a thread of its own. The two sides meet in ``Talk``: the thread
hands over what the guest says, and waits when the loop is behind; the loop shuts the socket
down to end everything, which wakes every wait of the thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from tachikoma.model.errors import SshUnreachableError
from tachikoma.ssh.port import Login

CONNECT_S = 15.0
_FAREWELL_S = 5.0
_IN_FLIGHT = 16
"""Chunks (of up to 32 KiB) handed over and not yet taken."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Who takes what the command says."""

    stdout: Callable[[bytes], None]
    stderr: Callable[[bytes], None]


class Talk:
    """What the thread works with. Every method may be called from any thread."""

    def __init__(
        self, login: Login, line: str, *, connection: socket.socket, stdin: int | None
    ) -> None:
        self.login = login
        self.line = line.encode("utf-8", "surrogateescape")
        self.connection = connection
        self.stdin = stdin
        self.failure: BaseException | None = None
        self.over, self._over = os.pipe()
        """Readable as soon as there is nothing more to send."""
        self._loop = asyncio.get_running_loop()
        self._room = threading.Semaphore(_IN_FLIGHT)
        self._closed = False

    def hand_over(self, take: Callable[[bytes], None], data: bytes) -> None:
        """Let the loop call ``take``; waits while it is behind."""
        self._room.acquire()
        self.in_loop(self._deliver, take, data)

    def in_loop(self, call: Callable[..., None], *arguments: object) -> None:
        """Call something in the event loop; nothing if that has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)

    def end_input(self) -> None:
        """Wake the one who waits for more input to send."""
        with contextlib.suppress(OSError):
            os.write(self._over, b".")

    def hang_up(self) -> None:
        """End the conversation, whatever it is waiting for. Repeatable."""
        self._closed = True
        self.end_input()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptors back, when the thread has ended."""
        self.connection.close()
        os.close(self.over)
        os.close(self._over)

    def _deliver(self, take: Callable[[bytes], None], data: bytes) -> None:
        self._room.release()
        if self._closed:
            return
        try:
            take(data)
        except Exception as error:  # noqa: BLE001 - handed on to the one who awaits the command
            self.failure = error
            self.hang_up()


Speak = Callable[[Talk, Outputs], int]


async def hold(
    login: Login, line: str, *, stdin: int | None, outputs: Outputs, speak: Speak
) -> int:
    """Connect, let ``speak`` run the command in a thread, and give the exit status.

    Raises:
        SshUnreachableError: nothing listens there; and whatever ``speak`` raises.
    """
    talk = Talk(login, line, connection=await _connected(login), stdin=stdin)
    said: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    thread = threading.Thread(
        target=_in_thread, args=(talk, outputs, speak, said), name=f"ssh {login.vm}", daemon=True
    )
    thread.start()
    try:
        status = await asyncio.shield(said)
    except BaseException:
        talk.hang_up()
        await asyncio.wait({said}, timeout=_FAREWELL_S)
        if said.done() and (error := said.exception()) is not None:
            del error  # it comes of hanging up
        if talk.failure is not None:
            raise talk.failure from None
        raise
    finally:
        if said.done():
            talk.close()
    return status


def _in_thread(talk: Talk, outputs: Outputs, speak: Speak, said: asyncio.Future[int]) -> None:
    try:
        status = speak(talk, outputs)
    except BaseException as error:  # noqa: BLE001 - raised again by the one who awaits it
        talk.in_loop(said.set_exception, error)
    else:
        talk.in_loop(said.set_result, status)


async def _connected(login: Login) -> socket.socket:
    loop = asyncio.get_running_loop()
    endpoint = login.endpoint
    try:
        async with asyncio.timeout(CONNECT_S):
            found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
            family, kind, protocol, _, address = found[0]
            connection = socket.socket(family, kind, protocol)
            try:
                connection.setblocking(False)  # noqa: FBT003 - the name of it says enough
                await loop.sock_connect(connection, address)
            except BaseException:
                connection.close()
                raise
    except OSError as error:
        # asyncio puts the address into its own words; the number says what it was.
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else str(error) or "no answer in time"
        raise SshUnreachableError(
            f"{login.vm} cannot be reached at {endpoint}: {why}",
            hint=f"see what `tachikoma status {login.vm}` says",
        ) from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
