"""The line to the guest agent: one question at a time, in step whatever happened before.

The agent's socket serves one client; a second one would wait unheard. A client therefore takes
a turn: it holds a lock, connects, gets in step, asks a few questions and leaves. A command that
takes long is asked after in many turns, so that others get a word in. The protocol is described
at https://www.qemu.org/docs/master/interop/qemu-ga-ref.html.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tachikoma.host import files
from tachikoma.host.clock import Clock, attempts
from tachikoma.model.errors import AgentError

Json = Any
"""What a question or an answer of the agent holds; who asks knows its shape."""

_DELIMITER = b"\xff"
# The agent gives 16 MiB of output at most in one answer, in base64, for each of two streams.
_LONGEST_ANSWER = 48 << 20


class Refused(AgentError):
    """The agent understood and said no: ``AgentError`` with its words in the message."""


class Line:
    """One turn with the agent: in step, and nobody else is heard meanwhile."""

    def __init__(self, *, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def get_in_step(self) -> None:
        """Skip what earlier clients left unread or half said, until the agent echoes a number."""
        number = secrets.randbelow(1 << 31)
        # The delimiter makes the agent drop half a question; it sends one before its answer.
        self._writer.write(_DELIMITER + _question("guest-sync-delimited", {"id": number}))
        await self._writer.drain()
        while True:
            await self._reader.readuntil(_DELIMITER)
            with contextlib.suppress(ValueError):
                if json.loads(await self._reader.readline()).get("return") == number:
                    return

    async def ask(self, what: str, **arguments: Json) -> Json:
        """Ask one question and give its answer.

        Raises:
            Refused: the agent said no.
        """
        await self.tell(what, **arguments)
        answer = await self._reader.readline()
        if not answer.endswith(b"\n"):
            raise EOFError
        decoded = json.loads(answer)
        if "error" in decoded:
            raise Refused(
                f"the guest agent refuses {what}: {decoded['error'].get('desc', decoded['error'])}",
                hint="see the agent's log in the guest: journalctl -u qemu-guest-agent",
            )
        return decoded["return"]

    async def tell(self, what: str, **arguments: Json) -> None:
        """Say something that has no answer."""
        self._writer.write(_question(what, arguments))
        await self._writer.drain()


class Agent:
    """The guest agent of one running VM, behind the socket at ``socket``."""

    def __init__(self, *, socket: Path, clock: Clock) -> None:
        self._socket = socket
        self._clock = clock

    @contextlib.asynccontextmanager
    async def turn(self, *, deadline_s: float) -> AsyncIterator[Line]:
        """Have the agent's ear; the whole turn takes ``deadline_s`` at most.

        Raises:
            AgentError: it does not answer, or the VM ended meanwhile.
        """
        try:
            async with asyncio.timeout(deadline_s), self._alone(deadline_s):
                reader, writer = await asyncio.open_unix_connection(
                    self._socket, limit=_LONGEST_ANSWER
                )
                try:
                    line = Line(reader=reader, writer=writer)
                    await line.get_in_step()
                    yield line
                finally:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
        except TimeoutError as error:
            raise AgentError(
                f"the guest agent does not answer within {deadline_s:g} s",
                hint="the guest may still boot, or be too busy; its console log tells more",
            ) from error
        except (OSError, EOFError, ValueError) as error:
            raise AgentError(
                f"the line to the guest agent broke: {str(error) or type(error).__name__}",
                hint="the VM may have ended; if it runs, halt it and start it again",
                details=str(self._socket),
            ) from error

    async def answers(self, *, deadline_s: float) -> bool:
        """Tell whether it answers within ``deadline_s``."""
        try:
            async with self.turn(deadline_s=deadline_s):
                return True
        except AgentError:
            return False

    @contextlib.asynccontextmanager
    async def _alone(self, deadline_s: float) -> AsyncIterator[None]:
        if not self._socket.exists():  # and do not make its directory anew for the lock
            raise FileNotFoundError(str(self._socket))
        lock = self._socket.with_suffix(".lock")
        async for _ in attempts(self._clock, deadline_s=deadline_s, most_s=0.05):
            with contextlib.ExitStack() as held:
                try:
                    held.enter_context(files.locked(lock, deadline_s=0))
                except TimeoutError:
                    continue
                yield
                return
        raise TimeoutError


def _question(what: str, arguments: dict[str, Json]) -> bytes:
    return json.dumps({"execute": what, "arguments": arguments}).encode() + b"\n"
