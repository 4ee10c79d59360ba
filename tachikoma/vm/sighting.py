"""Observing: what phase a VM is in, by the engine and the marker inside the guest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tachikoma.hypervisor.port import Hypervisor
from tachikoma.model.errors import VmNotRunningError
from tachikoma.model.names import VmName
from tachikoma.model.vm import VmState
from tachikoma.vm.lifecycle import Phase

_QUIET = {
    VmState.STOPPED: Phase.STOPPED,
    VmState.SUSPENDED: Phase.SUSPENDED,
    VmState.UNKNOWN: Phase.UNKNOWN,
}


async def roughly(hypervisor: Hypervisor, vm: VmName) -> Phase:
    """Tell the phase without asking the guest; a running VM counts as BOOTING."""
    info = await hypervisor.find(vm)
    return Phase.ABSENT if info is None else _QUIET.get(info.state, Phase.BOOTING)


async def closely(
    hypervisor: Hypervisor, vm: VmName, expected: Callable[[], Awaitable[str]] | None
) -> Phase:
    """Tell the phase, asking the guest of a running VM which plan it was provisioned with.

    ``expected`` gives the digest that READY takes; None accepts any.

    Raises:
        AgentError: the agent answered once and then no more.
    """
    from tachikoma.vm.provision.run import provisioned_with  # a rough look does without

    phase = await roughly(hypervisor, vm)
    if phase is not Phase.BOOTING or not await hypervisor.agent_ready(vm):
        return phase
    try:
        found = await provisioned_with(hypervisor, vm)
    except VmNotRunningError:
        return await roughly(hypervisor, vm)
    if not found or (expected is not None and found != await expected()):
        return Phase.BARE
    return Phase.READY
