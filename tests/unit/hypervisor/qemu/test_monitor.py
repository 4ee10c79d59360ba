from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tachikoma.hypervisor.qemu.monitor import conversation, forwarded_port
from tachikoma.model.errors import HypervisorError

USERNET = """Hub -1 (net):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   17       127.0.0.1 50000       10.0.2.15    22     0     0
  TCP[HOST_FORWARD]  16       127.0.0.1 35309       10.0.2.15    22     0     0
"""


def test_the_port_is_that_of_the_forward_and_of_no_connection() -> None:
    assert forwarded_port(USERNET) == 35309


def test_without_a_forward_there_is_no_port() -> None:
    assert forwarded_port("Hub -1 (net):\n  Protocol[State]\n") is None


@pytest.mark.live
async def test_the_monitor_is_asked_and_told(own_home: Path) -> None:
    heard: list[str] = []

    async def qemu(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version = {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}
        greeting = {"QMP": {"version": version, "capabilities": []}}
        writer.write(json.dumps(greeting).encode() + b"\n")
        while raw := await reader.read(4096):  # no line ends: one question at a time
            question = json.loads(raw)
            heard.append(question["execute"])
            said = USERNET if question["execute"] == "human-monitor-command" else {}
            answer = {"return": said} | {key: question[key] for key in question if key == "id"}
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    socket = own_home / "monitor.sock"
    server = await asyncio.start_unix_server(qemu, socket)
    async with server, conversation(socket, deadline_s=5) as monitor:
        assert await monitor.ssh_port() == 35309
        await monitor.power_down()
        await monitor.quit()
    assert heard == ["qmp_capabilities", "human-monitor-command", "system_powerdown", "quit"]


@pytest.mark.live
async def test_a_monitor_that_is_not_there_is_an_error_of_the_engine(own_home: Path) -> None:
    with pytest.raises(HypervisorError, match="QEMU does not answer at"):
        async with conversation(own_home / "monitor.sock", deadline_s=1):
            pass


@pytest.mark.live
async def test_a_monitor_that_says_nothing_is_given_up_at_the_deadline(own_home: Path) -> None:
    async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    socket = own_home / "monitor.sock"
    async with await asyncio.start_unix_server(busy, socket):
        with pytest.raises(HypervisorError):
            async with conversation(socket, deadline_s=0.2):
                pass
