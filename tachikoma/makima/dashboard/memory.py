"""A machine that is only said to be there, for tests of the pages."""

from __future__ import annotations

from dataclasses import dataclass

from tachikoma.makima.dashboard.port import HostProxy, HostRequest, HostRequests, HostVm
from tachikoma.makima.dashboard.requests import denied_hosts
from tachikoma.model.errors import TachikomaError

_STOPPED = HostProxy(running=False, endpoint="127.0.0.1:19280", since=None)


@dataclass
class MemoryHost:
    """Has what it is given; ``fault`` is raised instead of an answer."""

    hostname: str = "workshop"
    machines: tuple[HostVm, ...] = ()
    recorded: tuple[HostRequest, ...] = ()
    proxy: HostProxy = _STOPPED
    fault: TachikomaError | None = None

    async def vms(self) -> tuple[HostVm, ...]:
        """Give the VMs."""
        if self.fault is not None:
            raise self.fault
        return self.machines

    async def requests(self, *, most: int, denied: bool, vm: str | None) -> HostRequests:
        """Give the requests, the latest first."""
        if self.fault is not None:
            raise self.fault
        fit = [
            each
            for each in reversed(self.recorded)
            if (each.verdict == "denied" or not denied) and vm in {None, each.vm, each.branch}
        ]
        return HostRequests(
            proxy=self.proxy, items=tuple(fit[:most]), denied_hosts=denied_hosts(self.recorded)
        )
