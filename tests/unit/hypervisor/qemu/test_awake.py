"""The line to a restored guest, against a scripted one on a socket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from tachikoma.hypervisor.qemu.awake import Awake
from tachikoma.model.errors import AgentError
from tachikoma.model.vm import GuestCommand, GuestExit, Stream

pytestmark = pytest.mark.live

MAC = "52:54:00:01:02:03"
SOON_S = 5.0
PROGRAM = ("/usr/bin/python3", "-I", "-S", "-c")
TEXT = "print('ü')"
DIGEST = hashlib.sha256(TEXT.encode()).hexdigest()
COMMAND = GuestCommand((*PROGRAM, TEXT), stdin=b"in\0", deadline_s=SOON_S)


class Guest:
    """Answers each line with the next of ``answers``; with ``cut`` it goes after the last one."""

    def __init__(self, *answers: list[bytes]) -> None:
        self.answers = list(answers)
        self.heard: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.cut = False

    @contextlib.asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[None]:
        async with await asyncio.start_unix_server(self._client, path, limit=1 << 26):
            try:
                yield
            finally:
                async with asyncio.timeout(SOON_S):
                    await self.gone.wait()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                self.heard.append(json.loads(line))
                for piece in self.answers.pop(0) if self.answers else []:
                    writer.write(piece)
                    await writer.drain()
                if self.cut and not self.answers:
                    break
        writer.close()
        self.gone.set()


def line(**what: Any) -> bytes:
    return json.dumps(what).encode() + b"\n"


def said(stream: str, text: bytes) -> bytes:
    return line(**{stream: base64.b64encode(text).decode()})


@pytest.fixture
def socket(own_home: Path) -> Path:
    return own_home / "birth.sock"


async def run(guest: Guest, socket: Path, command: GuestCommand = COMMAND) -> GuestExit:
    async with guest.listening(socket):
        awake = await Awake.born(socket, MAC, deadline_s=SOON_S)
        return await awake.run(command, None)


async def test_a_machine_is_told_who_it_is_and_no_two_are_told_the_same(socket: Path) -> None:
    told = []
    for _ in range(2):
        guest = Guest([line(born=[])])
        async with guest.listening(socket):
            (await Awake.born(socket, MAC, deadline_s=SOON_S)).close()
        socket.unlink()
        told += guest.heard
    first, second = told
    assert set(first) == {
        "seed", "now", "machine_id", "boot_id", "mac", "host_key", "host_key_public"
    }  # fmt: skip
    assert abs(second["now"] - time.time()) < SOON_S
    assert {name for name in first if first[name] == second[name]} == {"mac"}
    assert first["mac"] == MAC
    assert len(bytes.fromhex(first["seed"])) == 64
    assert len(bytes.fromhex(first["machine_id"])) == 16


async def test_the_two_halves_of_the_host_key_belong_together(socket: Path) -> None:
    guest = Guest([line(born=[])])
    async with guest.listening(socket):
        (await Awake.born(socket, MAC, deadline_s=SOON_S)).close()
    (told,) = guest.heard
    private = serialization.load_ssh_private_key(told["host_key"].encode(), None)
    public = private.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    assert told["host_key_public"] == public.decode() + "\n"
    assert told["host_key"].endswith("-----END OPENSSH PRIVATE KEY-----\n")


async def test_a_program_that_it_knows_is_only_named(socket: Path) -> None:
    guest = Guest([line(born=[DIGEST])], [line(status=0)])
    assert await run(guest, socket) == GuestExit(0, b"", b"")
    assert guest.heard[1]["known"] == DIGEST
    assert guest.heard[1]["script"] == ""
    assert base64.b64decode(guest.heard[1]["stdin"]) == b"in\0"
    assert guest.heard[1]["environment"]["HOME"] == "/root"


async def test_a_program_that_it_does_not_know_is_sent(socket: Path) -> None:
    guest = Guest([line(born=["another"])], [line(status=3)])
    assert (await run(guest, socket)).status == 3
    assert guest.heard[1]["script"] == TEXT


async def test_what_it_says_arrives_as_it_comes_and_in_the_end_altogether(socket: Path) -> None:
    talk = [said("stdout", b"a"), said("stderr", b"\xff"), said("stdout", b"b\n"), line(status=7)]
    guest = Guest([line(born=[])], talk)
    seen: list[tuple[Stream, bytes]] = []
    async with guest.listening(socket):
        awake = await Awake.born(socket, MAC, deadline_s=SOON_S)
        ended = await awake.run(COMMAND, lambda stream, piece: seen.append((stream, piece)))
    assert ended == GuestExit(7, b"ab\n", b"\xff")
    assert seen == [("stdout", b"a"), ("stderr", b"\xff"), ("stdout", b"b\n")]


async def test_what_is_said_in_one_breath_is_told_apart(socket: Path) -> None:
    talk = [said("stdout", b"a") + said("stdout", b"b") + line(status=0)[:5], line(status=0)[5:]]
    assert (await run(Guest([line(born=[])], talk), socket)).stdout == b"ab"


async def test_without_a_socket_nobody_is_born(socket: Path) -> None:
    with pytest.raises(AgentError, match="restored from a snapshot does not answer"):
        await Awake.born(socket, MAC, deadline_s=SOON_S)


async def test_a_mute_guest_is_given_up_at_the_deadline(socket: Path) -> None:
    guest = Guest()
    async with guest.listening(socket):
        with pytest.raises(AgentError):
            await Awake.born(socket, MAC, deadline_s=0.1)


@pytest.mark.parametrize(
    "answer", [b"", b'{"born": [', b"no JSON\n", line(status=1), b"[]\n", b"7\n", line(born=5)]
)
async def test_a_guest_that_does_not_say_that_it_is_born_is_none(
    socket: Path, answer: bytes
) -> None:
    guest = Guest([answer])
    guest.cut = True
    async with guest.listening(socket):
        with pytest.raises(AgentError):
            await Awake.born(socket, MAC, deadline_s=SOON_S)


@pytest.mark.parametrize(
    "answer", [b"", said("stdout", b"half"), b"\n", line(status="many"), line(stdout=1)]
)
async def test_a_program_that_does_not_come_to_its_end_is_an_error(
    socket: Path, answer: bytes
) -> None:
    guest = Guest([line(born=[])], [answer])
    guest.cut = True
    with pytest.raises(AgentError, match="did not come to its end"):
        await run(guest, socket)


async def test_a_program_over_its_deadline_is_let_go(socket: Path) -> None:
    slow = GuestCommand((*PROGRAM, TEXT), deadline_s=0.1)
    with pytest.raises(AgentError, match="did not come to its end"):
        await run(Guest([line(born=[])]), socket, slow)


async def test_more_output_than_is_held_is_an_error(socket: Path) -> None:
    guest = Guest([line(born=[])], [said("stdout", b"x" * 600)] * 2)
    async with guest.listening(socket):
        awake = await Awake.born(socket, MAC, deadline_s=SOON_S)
        with pytest.raises(AgentError, match="more than is held in memory"):
            await awake.run(COMMAND, None, most_output=1000)


async def test_a_large_input_arrives_whole(socket: Path) -> None:
    given = bytes(range(256)) * 4096
    guest = Guest([line(born=[])], [line(status=0)])
    await run(guest, socket, GuestCommand((*PROGRAM, TEXT), stdin=given, deadline_s=SOON_S))
    assert base64.b64decode(guest.heard[1]["stdin"]) == given


@pytest.mark.parametrize(
    ("command", "can"),
    [
        (COMMAND, True),
        (GuestCommand((*PROGRAM, TEXT), user="admin"), False),
        (GuestCommand((*PROGRAM, TEXT, "argument")), False),
        (GuestCommand(("/usr/bin/python3", "-c", TEXT)), False),
        (GuestCommand(("true",)), False),
    ],
)
def test_it_runs_what_is_a_program_for_it_as_it_is(command: GuestCommand, *, can: bool) -> None:
    assert Awake.can_run(command) is can
