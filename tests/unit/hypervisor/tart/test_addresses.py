from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tachikoma.hypervisor.tart.addresses import Addresses, Way, leases_in_use, reach
from tachikoma.hypervisor.tart.program import Program
from tachikoma.model.errors import HypervisorError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tests.doubles.tart_double.contract import error_of
from tests.doubles.tart_double.store import Store
from tests.doubles.tart_tool import Answer, DoubleTool

VM = VmName("tachikoma-app-main")
NOW = 1_700_000_000.0
LEASE = "{{\n\tip_address=192.168.64.{0}\n\thw_address=1,5e:0:{0:x}\n\tlease=0x{1:x}\n}}\n"
NOBODY: Answer = (1, b"", b"no IP address found")


@dataclass
class Network:
    """What each resolver says, and where there is a way to."""

    home: Path
    says: dict[str, Answer] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def addresses(self) -> Addresses:
        network = self

        class Tool(DoubleTool):
            def _answer(self, command: object, stdin: object, env: object) -> Answer:
                assert isinstance(command, list)
                resolver = command[5] if "--resolver" in command else "dhcp"
                network.asked.append(resolver)
                return network.says.get(resolver, NOBODY)

        tool = Tool(Store({"HOME": str(self.home)}))
        return Addresses(
            program=Program(environ={"HOME": str(self.home)}, tool=tool),
            port=22,
            leases=self.home / "leases",
            reach=self.reach,
            now=lambda: NOW,
        )

    async def reach(self, endpoint: Endpoint) -> Way:
        return Way.NONE if endpoint.host in self.closed else Way.QUIET


@pytest.fixture
def network(own_home: Path) -> Network:
    return Network(own_home)


def at(address: str) -> Answer:
    return 0, f"{address}\n".encode(), b""


async def test_the_lease_is_asked_first(network: Network) -> None:
    network.says = {"dhcp": at("192.168.64.7"), "agent": at("172.17.0.1")}
    assert await network.addresses().of(VM) == Endpoint("192.168.64.7", 22)
    assert network.asked == ["dhcp"]


@pytest.mark.parametrize("resolver", ["agent", "arp"])
async def test_where_there_is_no_lease_others_are_asked(network: Network, resolver: str) -> None:
    network.says = {resolver: at("192.168.64.7")}
    assert await network.addresses().of(VM) == Endpoint("192.168.64.7", 22)


@pytest.mark.parametrize(
    "name", ["no_ip", "leases_format", "agent_rpc", "arp", "vm_does_not_exist"]
)
async def test_a_guest_that_nobody_knows_has_no_address_yet(network: Network, name: str) -> None:
    said = error_of("ip", name)["example"].encode()
    network.says = dict.fromkeys(("dhcp", "agent", "arp"), (1, b"", said))
    assert await network.addresses().of(VM) is None


async def test_what_is_no_address_is_none(network: Network) -> None:
    network.says = {"dhcp": at("waiting for lock..."), "arp": at("192.168.64.9")}
    assert await network.addresses().of(VM) == Endpoint("192.168.64.9", 22)


async def test_an_old_lease_gives_way_to_what_the_guest_says(network: Network) -> None:
    network.says = {"dhcp": at("192.168.64.7"), "agent": at("192.168.64.8")}
    network.closed = {"192.168.64.7"}
    assert await network.addresses().of(VM) == Endpoint("192.168.64.8", 22)


async def test_a_host_that_forbids_the_way_is_told_with_where_to_allow_it(
    network: Network,
) -> None:
    network.says = dict.fromkeys(("dhcp", "agent"), at("192.168.64.7"))
    network.closed = {"192.168.64.7"}
    with pytest.raises(HypervisorError, match="does not let this program reach") as refused:
        await network.addresses().of(VM)
    assert "Local Network" in refused.value.hint


async def test_while_the_guest_boots_there_need_be_no_way_to_it(network: Network) -> None:
    network.says = {"dhcp": at("192.168.64.7")}
    network.closed = {"192.168.64.7"}
    assert await network.addresses().of(VM) == Endpoint("192.168.64.7", 22)


def leases(number: int, *, ends: float) -> str:
    return "".join(LEASE.format(place, int(ends)) for place in range(number))


async def test_when_all_addresses_are_leased_that_is_said_with_the_remedy(network: Network) -> None:
    (network.home / "leases").write_text(leases(253, ends=NOW + 60))
    with pytest.raises(HypervisorError, match="no addresses left for VMs: 253") as refused:
        await network.addresses().of(VM)
    assert "DHCPLeaseTimeSecs" in refused.value.hint
    (network.home / "leases").write_text(leases(253, ends=NOW - 60))
    assert await network.addresses().of(VM) is None


def test_leases_that_have_run_out_are_free() -> None:
    assert leases_in_use(leases(3, ends=NOW + 1) + leases(4, ends=NOW - 1), NOW) == 3
    assert leases_in_use("", NOW) == 0


@pytest.mark.live
async def test_a_real_connection_tells_whether_there_is_a_way() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await reach(Endpoint("127.0.0.1", port)) is Way.OPEN
    server.close()
    await server.wait_closed()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert await reach(Endpoint("127.0.0.1", closed.getsockname()[1])) is Way.QUIET
