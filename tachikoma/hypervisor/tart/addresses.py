"""Finding out a guest's address: three resolvers of Tart's, and what may be wrong with an answer.

macOS keeps leases for a day, so an address may be an earlier VM's, and there may be none left.
From macOS 15 on, a program may not talk to the local network until its user has agreed; it then
looks as if there were no way to the guest.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tachikoma.hypervisor.tart import argv
from tachikoma.hypervisor.tart.argv import Resolver
from tachikoma.hypervisor.tart.program import Program
from tachikoma.model.errors import HypervisorError, VmNotFoundError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint

LEASES = Path("/var/db/dhcpd_leases")
MOST_LEASES = 250
"""A /24 network has 253 addresses to give."""

_WAIT_S = {Resolver.DHCP: 2, Resolver.AGENT: 0, Resolver.ARP: 0}
_REACH_S = 1.0
_LEASE_END = re.compile(r"^\s*lease=0x([0-9a-fA-F]+)\s*$", re.MULTILINE)
_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}")


class Way(StrEnum):
    """What a first packet to an endpoint met with."""

    OPEN = "open"
    QUIET = "quiet"
    NONE = "none"


Reach = Callable[[Endpoint], Awaitable[Way]]


async def reach(endpoint: Endpoint) -> Way:
    """Try a connection: ``NONE`` only where this host says that there is no way there."""
    try:
        async with asyncio.timeout(_REACH_S):
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    except OSError as error:  # TimeoutError is one
        return Way.NONE if error.errno == errno.EHOSTUNREACH else Way.QUIET
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return Way.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """The addresses of guests; ``port`` is where their SSH servers listen."""

    program: Program
    port: int
    leases: Path
    reach: Reach
    now: Callable[[], float]

    async def of(self, vm: VmName) -> Endpoint | None:
        """Find the address of a running VM; None while nobody knows it.

        Raises:
            HypervisorError: macOS has no addresses left, or does not let us talk to the guest.
        """
        for resolver in Resolver:
            found = await self._ask(vm, resolver)
            if found is not None:
                return await self._proven(vm, found, resolver)
        self._refuse_if_exhausted()
        return None

    async def _ask(self, vm: VmName, resolver: Resolver) -> Endpoint | None:
        line = argv.ip_argv(vm, wait_s=_WAIT_S[resolver], resolver=resolver)
        try:
            said = (await self.program.text(line)).strip()
        except VmNotFoundError:
            return None
        except HypervisorError:
            return None  # not yet, or not by this one
        return Endpoint(said, self.port) if _ADDRESS.fullmatch(said) else None

    async def _proven(self, vm: VmName, found: Endpoint, resolver: Resolver) -> Endpoint:
        """Give ``found``, or what the guest itself says where there is no way to that."""
        if await self.reach(found) is not Way.NONE:
            return found
        own = found if resolver is Resolver.AGENT else await self._ask(vm, Resolver.AGENT)
        if own is None:
            return found  # it boots; who waits for SSH asks again
        if own != found and await self.reach(own) is not Way.NONE:
            return own  # the other was an old lease
        raise HypervisorError(
            f"macOS does not let this program reach the VM {vm} at {own}",
            hint="allow it for your terminal in System Settings, Privacy & Security, Local "
            "Network, then open a new terminal; a VPN or firewall can have the same effect",
        )

    def _refuse_if_exhausted(self) -> None:
        try:
            text = self.leases.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        if (taken := leases_in_use(text, self.now())) < MOST_LEASES:
            return
        raise HypervisorError(
            f"macOS has no addresses left for VMs: {taken} are leased for a day each",
            hint="`sudo rm /var/db/dhcpd_leases` frees them; to have them leased for ten minutes: "
            "sudo defaults write "
            "/Library/Preferences/SystemConfiguration/com.apple.InternetSharing.default.plist "
            "bootpd -dict DHCPLeaseTimeSecs -int 600",
        )


def leases_in_use(text: str, now: float) -> int:
    """Count the leases of a dhcpd_leases file that have not run out (pure)."""
    return sum(int(end, 16) > now for end in _LEASE_END.findall(text))
