"""What the dashboard shows of the machine that the server runs on, and the port to it.

The server knows nothing of VMs. Where it runs beside tachikoma, the composition root gives it a
`HostView`; elsewhere there is none, and the pages say so.
"""

from __future__ import annotations

from typing import Protocol

from pydantic import AwareDatetime

from tachikoma.makima.server.shapes import Shape


class VmUsage(Shape):
    """What the model calls of a VM took. ``cost_usd`` is None where no call has a price."""

    calls: int
    tokens: int
    cost_usd: float | None


class HostVm(Shape):
    """A VM of the machine. ``state`` is None where only the record is left."""

    name: str
    branch: str
    repository: str
    worktree: str | None
    engine: str
    image: str
    state: str | None
    cpus: int
    memory_mib: int
    disk_bytes: int
    created_at: AwareDatetime | None
    last_used_at: AwareDatetime | None
    usage: VmUsage | None


class HostProxy(Shape):
    """How the credential proxy stands."""

    running: bool
    endpoint: str
    since: AwareDatetime | None


class HostRequest(Shape):
    """A request or tunnel of a VM, as the proxy recorded it. The latest has the largest ``id``."""

    id: int
    at: AwareDatetime
    vm: str | None
    branch: str | None
    method: str
    host: str
    path: str
    status: int | None
    verdict: str
    why: str
    duration_s: float
    received: int
    sent: int
    model: str
    tokens: int | None


class DeniedHost(Shape):
    """A host that VMs asked for in vain."""

    host: str
    count: int


class HostRequests(Shape):
    """What the proxy recorded, the latest first, and which hosts were refused the most."""

    proxy: HostProxy
    items: tuple[HostRequest, ...]
    denied_hosts: tuple[DeniedHost, ...]


class HostView(Protocol):
    """The machine that the server runs on. It is asked again and again while somebody looks."""

    @property
    def hostname(self) -> str:
        """What the machine is called."""
        ...

    async def vms(self) -> tuple[HostVm, ...]:
        """Give the VMs, those that run first.

        Raises:
            TachikomaError: the machine cannot tell.
        """
        ...

    async def requests(self, *, most: int, denied: bool, vm: str | None) -> HostRequests:
        """Give the last ``most`` requests: of one VM or branch, or all; only those refused, or all.

        Raises:
            TachikomaError: the machine cannot tell.
        """
        ...
