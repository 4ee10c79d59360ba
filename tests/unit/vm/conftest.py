"""The heart among in-memory parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tachikoma.belongings.memory import MemoryBelongings
from tachikoma.git.memory import MemoryGit
from tachikoma.git.port import Identity, Repository
from tachikoma.host.clock import FakeClock
from tachikoma.hypervisor.synthetic import Synthetic
from tachikoma.model.errors import NoCredentialError, ProxyError
from tachikoma.model.events import Event, Report
from tachikoma.model.settings import Settings
from tachikoma.model.vm import Endpoint
from tachikoma.ssh.memory import MemoryShell
from tachikoma.state.memory import MemoryStore
from tachikoma.vm.orchestrator import VmOrchestrator
from tachikoma.vm.ports import Ports, Secret
from tachikoma.vm.provision.rehearsal import RehearsedGuest

REPOSITORY = Path("/src/app")


@dataclass(slots=True)
class CountingGateway:
    """A proxy that is there at once, and counts how often it was asked for."""

    ensured: int = 0
    failure: ProxyError | None = None

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", 19280)

    async def ensure(self, report: Report) -> None:
        del report
        self.ensured += 1
        if self.failure is not None:
            raise self.failure


@dataclass(slots=True)
class OneCredential:
    """The user's credential, or none; counts how often it was asked for."""

    secret: Secret | None = None
    asked: int = 0

    async def current(self) -> Secret:
        self.asked += 1
        if self.secret is None:
            raise NoCredentialError("no credential was found", hint="sign in")
        return self.secret


@dataclass(slots=True)
class Bench:
    """Everything around one orchestrator."""

    git: MemoryGit
    repository: Repository
    engine: Synthetic
    guest: RehearsedGuest
    shell: MemoryShell
    store: MemoryStore
    gateway: CountingGateway
    clock: FakeClock
    belongings: MemoryBelongings = field(default_factory=MemoryBelongings)
    credentials: OneCredential = field(default_factory=OneCredential)
    said: list[Event] = field(default_factory=list)

    def ports(self, settings: Settings | None = None) -> Ports:
        return Ports(
            hypervisor=self.engine,
            images=self.engine,
            git=self.git,
            shell=self.shell,
            store=self.store,
            gateway=self.gateway,
            belongings=self.belongings,
            credentials=self.credentials,
            checkpoints=self.engine,
            clock=self.clock,
            settings=settings or Settings(boot_timeout_secs=30),
        )

    def orchestrator(self, settings: Settings | None = None) -> VmOrchestrator:
        return VmOrchestrator(ports=self.ports(settings))


@pytest.fixture
def bench() -> Bench:
    clock, guest = FakeClock(), RehearsedGuest()
    git = MemoryGit(identity=Identity("Ada", "ada@example.org"))
    return Bench(
        git=git,
        repository=git.add_repository(REPOSITORY),
        engine=Synthetic(file=None, clock=clock, guest=guest, boot_s=5),
        guest=guest,
        shell=MemoryShell(listening={Endpoint("127.0.0.1", p) for p in range(20_022, 20_040)}),
        store=MemoryStore(clock=clock),
        gateway=CountingGateway(),
        clock=clock,
    )
