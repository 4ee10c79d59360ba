"""The line to a machine that was just restored from a golden snapshot (see ``birth``)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import secrets
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tachikoma.host.clock import SystemClock
from tachikoma.hypervisor.port import OnOutput
from tachikoma.hypervisor.qemu.guest_exec import MOST_OUTPUT, ROOT_ENVIRONMENT
from tachikoma.model.errors import AgentError
from tachikoma.model.vm import GuestCommand, GuestExit, Stream

_INTERPRETER = ("/usr/bin/python3", "-I", "-S", "-c")
_LONGEST_LINE = 1 << 20
_BROKEN = (TimeoutError, OSError, EOFError, ValueError, KeyError, TypeError)
"""What a line that is cut off, or a guest that says something else, leads to."""


class Awake:
    """An interpreter in the guest that waits for one program, for as long as this is open."""

    def __init__(self, *, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._known: frozenset[str] = frozenset()

    @classmethod
    async def born(cls, socket: Path, mac: str, *, deadline_s: float) -> Awake:
        """Tell a machine that was just restored who it is.

        Raises:
            AgentError: it does not become that, in time or at all.
        """
        private, public = await asyncio.to_thread(_host_key)
        about: dict[str, str | float] = {
            "seed": secrets.token_bytes(64).hex(),
            "machine_id": uuid.uuid4().hex,
            "boot_id": str(uuid.uuid4()),
            "mac": mac,
            "host_key": private,
            "host_key_public": public,
        }
        try:
            async with asyncio.timeout(deadline_s):
                streams = await asyncio.open_unix_connection(socket, limit=_LONGEST_LINE)
                awake = cls(reader=streams[0], writer=streams[1])
                async with awake._or_closed():
                    await awake._tell(about | {"now": SystemClock().now()})
                    awake._known = frozenset((await awake._hear())["born"])
        except _BROKEN as error:
            raise AgentError(
                "a VM that was restored from a snapshot does not answer",
                hint="it is started by booting, and the snapshot made anew",
                details=str(error) or type(error).__name__,
            ) from error
        return awake

    @staticmethod
    def can_run(command: GuestCommand) -> bool:
        """Tell whether ``command`` is a program for the interpreter as it is."""
        return command.argv[:-1] == _INTERPRETER and command.user == "root"

    async def run(
        self,
        command: GuestCommand,
        on_output: OnOutput | None,
        *,
        most_output: int = MOST_OUTPUT,
    ) -> GuestExit:
        """Run ``command``, and be closed; see ``Hypervisor.execute`` for what is promised.

        Raises:
            AgentError: as promised there.
        """
        text = command.argv[-1]
        digest = hashlib.sha256(text.encode()).hexdigest()
        job = {
            "known": digest,
            "script": "" if digest in self._known else text,
            "environment": dict(line.split("=", 1) for line in ROOT_ENVIRONMENT),
            "stdin": base64.b64encode(command.stdin).decode(),
        }
        try:
            async with asyncio.timeout(command.deadline_s):
                await self._tell(job)
                return await self._outcome(on_output, most_output)
        except _BROKEN as error:
            why = str(error) or type(error).__name__
            raise AgentError(
                f"`{command.argv[0]}` in the guest did not come to its end: {why}",
                hint="it has been ended; run it again",
            ) from error
        finally:
            self.close()

    async def _outcome(self, on_output: OnOutput | None, most_output: int) -> GuestExit:
        said: dict[Stream, list[bytes]] = {"stdout": [], "stderr": []}
        size = 0
        while "status" not in (heard := await self._hear()):
            for stream in said.keys() & heard.keys():
                piece = base64.b64decode(heard[stream])
                said[stream].append(piece)
                size += len(piece)
                if size > most_output:
                    raise ValueError("it says more than is held in memory")
                if on_output is not None:
                    on_output(stream, piece)
        return GuestExit(int(heard["status"]), *(b"".join(pieces) for pieces in said.values()))

    def close(self) -> None:
        """Let the interpreter go; what runs in it is ended."""
        self._writer.close()

    async def _tell(self, what: object) -> None:
        self._writer.write(json.dumps(what).encode() + b"\n")
        await self._writer.drain()

    async def _hear(self) -> dict[Any, Any]:
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return dict(json.loads(line))

    @contextlib.asynccontextmanager
    async def _or_closed(self) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise


def _host_key() -> tuple[str, str]:
    """Make a key pair for an SSH server, in the format of its files."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return private.decode("ascii"), public.decode("ascii") + "\n"
