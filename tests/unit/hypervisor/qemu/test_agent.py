from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tachikoma.host.clock import SystemClock
from tachikoma.hypervisor.qemu.agent import Agent, Refused
from tachikoma.model.errors import AgentError
from tests.doubles.guest_agent import DELIMITER, GuestAgent

pytestmark = pytest.mark.live

SOON_S = 5.0


@pytest.fixture
def socket(own_home: Path) -> Path:
    return own_home / "agent.sock"


def agent_at(socket: Path) -> Agent:
    return Agent(socket=socket, clock=SystemClock())


async def test_a_question_gets_its_answer(socket: Path) -> None:
    async with GuestAgent().listening(socket), agent_at(socket).turn(deadline_s=SOON_S) as line:
        assert await line.ask("guest-ping") == {}


async def test_what_an_earlier_client_left_unread_is_skipped(socket: Path) -> None:
    guest = GuestAgent()
    old_sync = DELIMITER + b'{"return": -1}\n'
    guest.stale = b'{"return": {"pid": 3}}\n{"ret' + old_sync + DELIMITER + b"no JSON\n"
    async with guest.listening(socket), agent_at(socket).turn(deadline_s=SOON_S) as line:
        assert await line.ask("guest-ping") == {}


async def test_a_refusal_has_the_words_of_the_agent(socket: Path) -> None:
    async with GuestAgent().listening(socket), agent_at(socket).turn(deadline_s=SOON_S) as line:
        with pytest.raises(Refused, match="guest-dance has not been found"):
            await line.ask("guest-dance")


async def test_a_mute_agent_is_given_up_at_the_deadline(socket: Path) -> None:
    guest = GuestAgent()
    guest.mute = True
    async with guest.listening(socket):
        with pytest.raises(AgentError, match=r"does not answer within 0\.1 s"):
            async with agent_at(socket).turn(deadline_s=0.1):
                pass
        assert not await agent_at(socket).answers(deadline_s=0.1)


async def test_without_a_socket_it_does_not_answer_and_no_directory_is_made(
    own_home: Path,
) -> None:
    missing = own_home / "gone" / "agent.sock"
    assert not await agent_at(missing).answers(deadline_s=SOON_S)
    assert not missing.parent.exists()


async def test_turns_come_one_after_the_other(socket: Path) -> None:
    guest = GuestAgent()

    async def one_turn() -> None:
        async with agent_at(socket).turn(deadline_s=SOON_S) as line:
            await line.ask("guest-ping")

    async with guest.listening(socket), asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(one_turn())
    assert len(guest.asked("guest-ping")) == 5


async def test_an_error_of_the_caller_is_left_as_it_is(socket: Path) -> None:
    async with GuestAgent().listening(socket):
        with pytest.raises(ZeroDivisionError):
            async with agent_at(socket).turn(deadline_s=SOON_S):
                raise ZeroDivisionError
