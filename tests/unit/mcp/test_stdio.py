"""Over real pipes, which is what the transport is about; no process and no socket is needed."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
import pytest
from mcp.shared.message import SessionMessage

from tachikoma.mcp.stdio import streams
from tachikoma.mcp.wire import LONGEST
from tests.unit.mcp.stand import until

PING = b'{"jsonrpc":"2.0","id":%d,"method":"ping"}\n'


@dataclass
class Pipes:
    """Both pipes of a client: it writes to ``to_server`` and reads from ``from_server``."""

    source: int
    to_server: int
    from_server: int
    sink: int
    heard: bytes = field(default=b"")

    def say(self, data: bytes) -> None:
        os.write(self.to_server, data)

    def lines(self) -> list[dict[str, Any]]:
        with_more = True
        while with_more:
            try:
                more = os.read(self.from_server, 1 << 16)
            except BlockingIOError:
                more = b""
            self.heard += more
            with_more = bool(more)
        return [json.loads(line) for line in self.heard.splitlines()]

    def hang_up(self) -> None:
        os.close(self.to_server)
        self.to_server = -1


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    source, to_server = os.pipe()
    from_server, sink = os.pipe()
    os.set_blocking(from_server, False)
    made = Pipes(source, to_server, from_server, sink)
    yield made
    for descriptor in (made.to_server, made.from_server, source, sink):
        if descriptor >= 0:
            os.close(descriptor)


async def test_messages_come_in_and_go_out_a_line_each(pipes: Pipes) -> None:
    async with streams(pipes.source, pipes.sink) as (incoming, outgoing, _):
        pipes.say(PING % 1 + PING % 2)
        for number in (1, 2):
            item = await incoming.receive()
            assert isinstance(item, SessionMessage)
            assert isinstance(item.message, types.JSONRPCRequest)
            assert item.message.id == number
        answer = types.JSONRPCResponse(jsonrpc="2.0", id=1, result={"text": "a\nb"})
        await outgoing.send(SessionMessage(answer))
        pipes.hang_up()
        assert [item async for item in incoming] == []
    assert pipes.lines() == [{"jsonrpc": "2.0", "id": 1, "result": {"text": "a\nb"}}]


async def test_a_bad_line_is_answered_and_the_next_one_is_heard(pipes: Pipes) -> None:
    async with streams(pipes.source, pipes.sink) as (incoming, _, _):
        pipes.say(b"nope\n" + PING % 3)
        item = await incoming.receive()
        assert isinstance(item, SessionMessage)
        await until(lambda: len(pipes.lines()) == 1)
        pipes.hang_up()
    (told,) = pipes.lines()
    assert (told["id"], told["error"]["code"]) == (None, types.PARSE_ERROR)


async def test_a_line_beyond_all_measure_is_answered_by_its_id(pipes: Pipes) -> None:
    head = b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"x":"'
    async with streams(pipes.source, pipes.sink) as (incoming, _, _):
        chunk = b"y" * (1 << 16)
        await asyncio.to_thread(pipes.say, head)
        for _number in range(LONGEST // len(chunk) + 1):
            await asyncio.to_thread(pipes.say, chunk)
        await asyncio.to_thread(pipes.say, b'"}}\n' + PING % 6)
        item = await incoming.receive()
        assert isinstance(item, SessionMessage)
        assert isinstance(item.message, types.JSONRPCRequest)
        assert item.message.id == 6
        await until(lambda: len(pipes.lines()) == 1)
        pipes.hang_up()
    (told,) = pipes.lines()
    assert (told["id"], told["error"]["code"]) == (5, types.INVALID_REQUEST)


async def test_a_client_that_takes_no_more_ends_the_input(pipes: Pipes) -> None:
    os.close(pipes.from_server)
    pipes.from_server = -1
    async with streams(pipes.source, pipes.sink) as (incoming, outgoing, _):
        answer = types.JSONRPCResponse(jsonrpc="2.0", id=1, result={})
        await outgoing.send(SessionMessage(answer))
        assert [item async for item in incoming] == []


async def test_the_input_can_be_ended_from_our_side(pipes: Pipes) -> None:
    async with streams(pipes.source, pipes.sink) as (incoming, _, hang_up):
        pipes.say(PING % 1)
        assert isinstance(await incoming.receive(), SessionMessage)
        hang_up()
        assert [item async for item in incoming] == []
