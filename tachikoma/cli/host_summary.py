"""This host in a few lines: its engine, what runs on it, and the proxy."""

from __future__ import annotations

from dataclasses import dataclass

from tachikoma.cli import encode, words
from tachikoma.cli.door import Door
from tachikoma.model.vm import Endpoint, VmState
from tachikoma.vm.requests import SurveyRequest


@dataclass(frozen=True, slots=True)
class HostSummary:
    """What tachikoma takes of this host now."""

    engine: str
    vms: int
    running: int
    memory_mib: int
    disk_bytes: int
    proxy: Endpoint
    proxy_running: bool

    def data(self) -> dict[str, object]:
        """Give it to a machine."""
        return {
            "engine": self.engine,
            "vms": self.vms,
            "running": self.running,
            "memory_mib": self.memory_mib,
            "disk_bytes": self.disk_bytes,
            "proxy": {"endpoint": encode.endpoint(self.proxy), "running": self.proxy_running},
        }

    def rows(self) -> list[tuple[str, str]]:
        """Give it to a person."""
        memory, disk = words.memory(self.memory_mib), words.size(self.disk_bytes)
        return [
            ("engine", self.engine),
            ("VMs", f"{self.running} of {self.vms} running, {memory} of memory, {disk} on disk"),
            ("proxy", f"{'running' if self.proxy_running else 'not running'}, {self.proxy}"),
        ]


async def summarise(door: Door) -> HostSummary:
    """Look at the engine and the proxy."""
    runtime = door.runtime
    vms = (await runtime.orchestrator.survey(SurveyRequest(), door.screen.report)).vms
    proxy = await runtime.proxy_status()
    running = [vm for vm in vms if vm.state is VmState.RUNNING]
    return HostSummary(
        engine=runtime.hypervisor.features.engine,
        vms=len(vms),
        running=len(running),
        memory_mib=sum(vm.memory_mib for vm in running),
        disk_bytes=sum(vm.disk_bytes for vm in vms),
        proxy=proxy.endpoint,
        proxy_running=proxy.running,
    )
