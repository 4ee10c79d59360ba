"""What the heart needs: the ports of the capability packages together, and the proxy's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from tachikoma.belongings.port import Belongings
from tachikoma.git.port import Git
from tachikoma.host.clock import Clock
from tachikoma.hypervisor.port import Checkpoints, Hypervisor, Images
from tachikoma.model.events import Report
from tachikoma.model.names import VmName
from tachikoma.model.settings import Settings
from tachikoma.model.vm import Endpoint, Network
from tachikoma.ssh.port import Forwards, NoForwards, Shell
from tachikoma.state.port import StateStore


class Gateway(Protocol):
    """The credential proxy as the heart sees it."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens on this host (or will)."""
        ...

    async def ensure(self, report: Report) -> None:
        """See to it that the proxy runs and answers. Idempotent; several callers make one proxy.

        Raises:
            ProxyPortError: something else listens there.
            ProxyError: it does not come up; details hold its log's last lines.
        """
        ...


@dataclass(frozen=True, slots=True)
class Secret:
    """The user's credential for the API, and the variable in which Claude Code takes it.

    ``variable`` is "" for one that only the proxy can use.
    """

    variable: str
    value: str = field(repr=False)
    source: str


class Credentials(Protocol):
    """The user's credential as the heart sees it: to give it to a VM that does without the proxy,
    and to know it in what must not enter any other.
    """

    async def current(self) -> Secret:
        """Give the credential of the moment.

        Raises:
            NoCredentialError: no source has one; the hint says what each of them said.
        """
        ...


class Journal(Protocol):
    """What is kept of the making and setting up of each VM, for `tachikoma logs`."""

    def note(self, vm: VmName, text: str) -> None:
        """Add lines about ``vm``. Never fails: a log must not stop the work."""
        ...

    def overhearing(self, vm: VmName, report: Report) -> Report:
        """Give a report that also notes what is reported about ``vm``."""
        ...

    def forget(self, vm: VmName) -> None:
        """Remove what is kept of ``vm``. Does nothing if absent."""
        ...


class NoJournal:
    """Keeps nothing."""

    def note(self, vm: VmName, text: str) -> None:
        """Do nothing."""

    def overhearing(self, vm: VmName, report: Report) -> Report:
        """Give the report as it is."""
        del vm
        return report

    def forget(self, vm: VmName) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything that the heart works through, and the settings of this command."""

    hypervisor: Hypervisor
    images: Images
    checkpoints: Checkpoints
    git: Git
    shell: Shell
    store: StateStore
    gateway: Gateway
    belongings: Belongings
    credentials: Credentials
    clock: Clock
    settings: Settings
    journal: Journal = field(default_factory=NoJournal)
    forwards: Forwards = field(default_factory=NoForwards)

    @property
    def image(self) -> str:
        """The image for new VMs: the user's, else the one that the engine has as its default."""
        if "base_image" in self.settings.explicit:
            return self.settings.base_image
        return self.hypervisor.features.default_image

    @property
    def network(self) -> Network:
        """What a VM can reach: as the user says, else as the engine has it by default."""
        chosen = self.settings.network
        return Network(chosen) if chosen else self.hypervisor.features.default_network
