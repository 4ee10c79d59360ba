"""Forwarded ports that exist only in memory, for flows and for trying things out."""

from __future__ import annotations

from dataclasses import dataclass, field

from tachikoma.model.errors import PortTakenError
from tachikoma.model.names import VmName
from tachikoma.ssh.port import Forward, Login


@dataclass(slots=True)
class MemoryForwards:
    """Implements the port ``Forwards``; ``taken`` are ports that something else listens on."""

    taken: set[int] = field(default_factory=set)
    opened: dict[int, Forward] = field(default_factory=dict)

    async def open(self, login: Login, *, guest_port: int, host_port: int) -> Forward:
        """Note it; the one that is there already is given as it is."""
        known = self.opened.get(host_port)
        if known is not None and (known.vm, known.guest_port) == (login.vm, guest_port):
            return known
        if known is not None or host_port in self.taken:
            raise PortTakenError(f"port {host_port} of this host is taken", hint="take another one")
        made = Forward(login.vm, guest_port, host_port, pid=host_port, since=0.0)
        self.opened[host_port] = made
        return made

    def all(self) -> list[Forward]:
        """List them, by VM and port."""
        return sorted(self.opened.values(), key=lambda one: (one.vm, one.guest_port))

    async def close(self, vm: VmName, *, host_port: int | None = None) -> list[Forward]:
        """Forget those of ``vm``, or the one at ``host_port``."""
        closed = [one for one in self.all() if one.vm == vm and host_port in (None, one.host_port)]
        for one in closed:
            del self.opened[one.host_port]
        return closed
