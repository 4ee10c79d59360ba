from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.model.errors import PortTakenError, UnsupportedError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.ssh.memory_forwards import MemoryForwards
from tachikoma.ssh.port import Login, NoForwards

ONE, TWO = VmName("tachikoma-a-one"), VmName("tachikoma-a-two")


def login(vm: VmName) -> Login:
    return Login(vm, Endpoint("127.0.0.1", 22), "admin", Path("/key"), Path("/known"))


async def test_a_port_of_the_host_leads_to_one_vm() -> None:
    forwards = MemoryForwards(taken={80})
    made = await forwards.open(login(ONE), guest_port=80, host_port=8080)
    assert await forwards.open(login(ONE), guest_port=80, host_port=8080) == made
    for host_port in (80, 8080):
        with pytest.raises(PortTakenError):
            await forwards.open(login(TWO), guest_port=80, host_port=host_port)
    other = await forwards.open(login(TWO), guest_port=80, host_port=8081)
    assert forwards.all() == [made, other]
    assert await forwards.close(ONE, host_port=8081) == []
    assert await forwards.close(ONE) == [made]
    assert forwards.all() == [other]


async def test_where_there_is_no_network_nothing_is_forwarded() -> None:
    with pytest.raises(UnsupportedError):
        await NoForwards().open(login(ONE), guest_port=80, host_port=8080)
    assert await NoForwards().close(ONE) == NoForwards().all() == []
