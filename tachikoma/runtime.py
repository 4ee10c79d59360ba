"""The composition root: the only place where real things are chosen and joined.

Nothing is made before it is asked for, and a heavy adapter is imported where it is joined:
`tachikoma list` does not wait for what only `spawn` needs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast, get_args

from tachikoma.config.load import Loaded
from tachikoma.git.port import Git
from tachikoma.host import process
from tachikoma.host.clock import Clock, SystemClock
from tachikoma.host.paths import Paths, paths_from, private_dir
from tachikoma.hypervisor.port import Checkpoints, Hypervisor, Images
from tachikoma.model.errors import NotARepositoryError, UsageError
from tachikoma.model.settings import HypervisorChoice, Settings
from tachikoma.model.vm import Endpoint
from tachikoma.ssh.port import Forwards, NoForwards, Shell
from tachikoma.state.port import StateStore
from tachikoma.vm.orchestrator import VmOrchestrator
from tachikoma.vm.ports import Credentials, Gateway, Ports, Secret

if TYPE_CHECKING:  # each is loaded where it is made
    from tachikoma.belongings.port import Belongings
    from tachikoma.config.files import SettingsFiles
    from tachikoma.config.trust import TrustedFiles
    from tachikoma.credentials.port import Finding, Source
    from tachikoma.credentials.waterfall import Waterfall
    from tachikoma.host.journal import FileJournal
    from tachikoma.hypervisor.synthetic import Synthetic
    from tachikoma.hypervisor.tart.parts import TartParts
    from tachikoma.makima.configuration import LoadedDaemon
    from tachikoma.makima.variables import Given
    from tachikoma.model.checks import Check as EngineCheck
    from tachikoma.proxy.control import ProxyControl, ProxyStatus
    from tachikoma.proxy.groups import Groups
    from tachikoma.proxy.plan import Plan
    from tachikoma.proxy.usage import UsageBook
    from tachikoma.vm.keeping import Keeping
    from tachikoma.vm.proposing import Proposer
    from tachikoma.vm.pruning import Pruner

_SAYS_S = 10.0
_Part = TypeVar("_Part")


class Runtime:
    """The parts of one command, each made on first use.

    ``environ`` is the user's environment, ``cwd`` where the command was called, and
    ``hypervisor`` the engine to use instead of the one in the settings ("" and None: that one).

    Raises:
        UsageError: there is no engine of that name.
    """

    def __init__(
        self, *, environ: Mapping[str, str], cwd: Path, hypervisor: str | None = None
    ) -> None:
        if hypervisor and hypervisor not in get_args(HypervisorChoice):
            raise UsageError(
                f"there is no hypervisor {hypervisor!r}",
                hint=f"one of {', '.join(get_args(HypervisorChoice))}",
            )
        self.environ = environ
        self.cwd = cwd
        self._chosen = hypervisor
        self._loaded: Loaded | None = None

    @property
    def chosen(self) -> str:
        """The engine that was asked for on the command line; "" is that of the settings."""
        return self._chosen or ""

    def at(self, directory: Path) -> Runtime:
        """Join the parts once more, as if the command had been called in ``directory``."""
        return Runtime(environ=self.environ, cwd=directory, hypervisor=self._chosen)

    # What the machine gives

    @cached_property
    def clock(self) -> Clock:
        """The clocks of this machine."""
        return SystemClock()

    @cached_property
    def paths(self) -> Paths:
        """Where this user's things are."""
        return paths_from(self.environ)

    async def said(self, argv: Sequence[str]) -> str:
        """Give the first line of what a program says of itself, on whichever output.

        Raises:
            MissingToolError: it is not installed.
        """
        done = await process.run(argv, deadline_s=_SAYS_S, check=False)
        return (done.stdout or done.stderr).decode("utf-8", "replace").partition("\n")[0]

    # Settings: they need the repository, which only git can find, so they are loaded once

    async def load_settings(self, *, anew: bool = False) -> Settings:
        """Read the layers of settings that hold in ``cwd``. Does nothing the second time.

        Raises:
            ConfigError: a file cannot be used.
        """
        if self._loaded is None or anew:
            from tachikoma.config.load import load

            self._loaded = load(
                global_file=self.paths.config / "config.toml",
                repository=await self._repository_root(),
                home=self.paths.home,
                trusts=lambda file, digest: self.trusted.trusts(file, digest),  # noqa: PLW0108 - lazily
            )
        return self._loaded.settings

    @cached_property
    def trusted(self) -> TrustedFiles:
        """The repository files that the user trusts."""
        from tachikoma.config.trust import TrustedFiles

        return TrustedFiles(file=self.paths.config / "trust.json")

    async def settings_files(self) -> SettingsFiles:
        """Say where settings are read from, for who changes them."""
        from tachikoma.config.files import SettingsFiles

        return SettingsFiles(
            own=self.paths.config / "config.toml",
            repository=await self._repository_root(),
            home=self.paths.home,
        )

    def load_makima(
        self, *, config: Path | None = None, options: Sequence[Given] = ()
    ) -> LoadedDaemon:
        """Read the makima daemon's configuration: ``config`` instead of the files that are found.

        Raises:
            MakimaConfigError: something in it cannot be used.
        """
        from tachikoma.makima.configuration import load_daemon_settings, surroundings

        place, trusts = surroundings(self.environ, self.cwd, self.paths), self.trusted.trusts
        return load_daemon_settings(place, config=config, options=options, trusts=trusts)

    def use_defaults(self) -> None:
        """Go on without settings files: for `doctor`, which has told that they are broken."""
        from tachikoma.config.load import load

        self._loaded = load(
            global_file=self.paths.config / "none", repository=None, home=self.paths.home
        )

    @property
    def loaded(self) -> Loaded:
        """The settings with their sources, once loaded."""
        if self._loaded is None:
            raise RuntimeError("the settings are loaded before anything is made from them")
        return self._loaded

    @property
    def settings(self) -> Settings:
        """The settings, once loaded."""
        return self.loaded.settings

    @property
    def warnings(self) -> tuple[str, ...]:
        """What stands in a settings file and was not applied."""
        return self.loaded.warnings

    async def _repository_root(self) -> Path | None:
        try:
            return (await self.git.repository(self.cwd)).root
        except NotARepositoryError:
            return None

    # Capabilities

    @cached_property
    def git(self) -> Git:
        """Git on this host."""
        from tachikoma.git.cli import GitCli

        return GitCli(clock=self.clock, locks=self.paths.locks)

    @cached_property
    def store(self) -> StateStore:
        """The record of which VM belongs to which branch."""
        from tachikoma.state.json_file import JsonFileStore

        file, locks = self.paths.state_file, self.paths.locks
        if self.engine_name == "synthetic":
            file, locks = self._synthetic / file.name, self._synthetic / locks.name
        return JsonFileStore(file=file, locks=locks, clock=self.clock)

    @cached_property
    def shell(self) -> Shell:
        """SSH into VMs."""
        if self.engine_name == "synthetic":
            from tachikoma.synthetic import SyntheticShell

            return SyntheticShell()
        from tachikoma.ssh.openssh import OpenSsh

        return OpenSsh(paths=self.paths)

    @cached_property
    def hypervisor(self) -> Hypervisor:
        """The engine."""
        if self.engine_name == "synthetic":
            return self._synthetic_engine
        if self.engine_name == "tart":
            return self._tart.engine
        from tachikoma.hypervisor.qemu.engine import Qemu
        from tachikoma.vm.provision.plan import guest_script

        return Qemu(
            data=self.paths.data,
            runtime=self.paths.runtime,
            clock=self.clock,
            snapshots=self.settings.instant_spawn,
            programs=(guest_script(),),
        )

    @cached_property
    def images(self) -> Images:
        """The base images of the engine."""
        if self.engine_name == "synthetic":
            return self._synthetic_engine
        if self.engine_name == "tart":
            return self._tart.images
        from tachikoma.hypervisor.qemu.images import DebianImages

        return DebianImages(
            data=self.paths.data, cache=self.paths.cache, clock=self.clock, environ=self.environ
        )

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints of the engine's VMs."""
        if self.engine_name == "synthetic":
            return self._synthetic_engine
        if self.engine_name == "tart":
            return self._tart.checkpoints
        from tachikoma.hypervisor.qemu.checkpoints import QemuCheckpoints

        return QemuCheckpoints(data=self.paths.data, clock=self.clock)

    async def engine_checks(self) -> list[EngineCheck]:
        """Look at everything that the engine takes of this machine."""
        if self.engine_name == "synthetic":
            return []
        if self.engine_name == "tart":
            return await self._tart.engine.checks()
        from tachikoma.hypervisor.qemu.probe import checks

        return await checks(self.paths.data / "kvm.json")

    @cached_property
    def _tart(self) -> TartParts:
        from tachikoma.hypervisor.tart.parts import TartParts

        return TartParts(
            environ=dict(self.environ) | {"HOME": str(self.paths.home)},
            data=self.paths.data / "tart",
            ssh_port=self.settings.ssh_port,
            clock=self.clock,
        )

    @cached_property
    def _synthetic_engine(self) -> Synthetic:
        from tachikoma.hypervisor.synthetic import Synthetic
        from tachikoma.vm.provision.rehearsal import RehearsedGuest

        file = private_dir(self._synthetic) / "engine.json"
        return Synthetic(file=file, clock=self.clock, guest=RehearsedGuest())

    @property
    def _synthetic(self) -> Path:
        """Where synthetic VMs are kept, apart from the real ones."""
        return self.paths.config / "synthetic"

    @property
    def engine_name(self) -> str:
        """The name of the engine, with ``auto`` decided."""
        wanted = self._chosen or self.settings.hypervisor
        if wanted == "auto":
            wanted = "tart" if sys.platform == "darwin" else "qemu"
        return wanted

    # The proxy

    def proxy_plan(self, *, bind: str | None = None, port: int | None = None) -> Plan:
        """Say how the credential proxy is to run; ``bind`` and ``port`` beat the settings."""
        from tachikoma.proxy.plan import Plan

        settings = self.settings
        explicit = bind or (
            settings.credential_proxy_bind if "credential_proxy_bind" in settings.explicit else None
        )
        return Plan(
            endpoint=Endpoint(
                explicit or self.hypervisor.features.proxy_bind,
                port or settings.credential_proxy_port,
            ),
            paths=self.paths,
            environment=self.environ,
            ttl_s=settings.credential_proxy_ttl_secs,
            credential_command=settings.credential_command,
            api_key_command=settings.api_key_command,
            any_address=explicit is not None,
        )

    @cached_property
    def proxy_control(self) -> ProxyControl:
        """The proxy as the settings have it."""
        from tachikoma.proxy.control import ProxyControl

        return ProxyControl(plan=self.proxy_plan(), clock=self.clock)

    async def proxy_status(self) -> ProxyStatus:
        """Tell whether the proxy runs."""
        return await self.proxy_control.status()

    @cached_property
    def credential_sources(self) -> Sequence[Source]:
        """The places that a proxy started from here would ask for a credential, in order."""
        from tachikoma.credentials.os_keychain import OsKeychain
        from tachikoma.credentials.sources import Surroundings, in_order

        place = Surroundings(
            environment=self.environ,
            home=self.paths.home,
            credential_command=self.settings.credential_command,
            api_key_command=self.settings.api_key_command,
            keychain=OsKeychain(environment=self.environ, platform=sys.platform),
        )
        return in_order(place, self.clock)

    async def credential_findings(self) -> Sequence[Finding]:
        """Ask the sources for a credential as the proxy would: the last one has it, if any has."""
        from tachikoma.credentials.waterfall import ask

        return await ask(self.credential_sources)

    def unknown_to_the_proxy(self) -> Sequence[str]:
        """Give the credential variables of this shell that the running proxy was not given."""
        from tachikoma.proxy import pidfile

        running = pidfile.read(self.proxy_plan().pid_file)
        return running.lacks(self.environ) if running is not None and running.alive else ()

    @cached_property
    def credentials(self) -> Credentials:
        """The user's credential as the heart sees it."""
        from tachikoma.credentials.waterfall import Waterfall

        ttl_s = self.settings.credential_proxy_ttl_secs
        return _Keys(Waterfall(sources=self.credential_sources, ttl_s=ttl_s, clock=self.clock))

    @cached_property
    def belongings(self) -> Belongings:
        """The user's own things on this host."""
        from tachikoma.belongings.home import HomeBelongings

        return HomeBelongings(home=self.paths.home, environment=self.environ)

    @cached_property
    def egress_groups(self) -> Groups:
        """What @apt, @pip and so on mean on this host."""
        from tachikoma.proxy.groups import Groups

        return Groups(environment=self.environ, home=self.paths.home)

    @cached_property
    def usage_book(self) -> UsageBook:
        """What every model call took."""
        from tachikoma.proxy.usage import UsageBook

        return UsageBook(self.proxy_plan().usage_file)

    @cached_property
    def gateway(self) -> Gateway:
        """The proxy as the heart sees it."""
        if self.engine_name == "synthetic":
            from tachikoma.synthetic import SyntheticGateway

            return SyntheticGateway(endpoint=self.proxy_plan().endpoint)
        return self.proxy_control

    # The heart

    @cached_property
    def ports(self) -> Ports:
        """Everything that the heart works through; what takes long to load comes when used."""
        return Ports(
            hypervisor=self.hypervisor,
            images=_later(lambda: self.images),
            checkpoints=_later(lambda: self.checkpoints),
            git=self.git,
            shell=_later(lambda: self.shell),
            store=self.store,
            gateway=_later(lambda: self.gateway),
            belongings=_later(lambda: self.belongings),
            credentials=_later(lambda: self.credentials),
            clock=self.clock,
            settings=self.settings,
            journal=_later(lambda: self.journal),
            forwards=_later(lambda: self.forwards),
        )

    @cached_property
    def journal(self) -> FileJournal:
        """What is kept of the making and setting up of each VM."""
        from tachikoma.host.journal import FileJournal

        base = self._synthetic if self.engine_name == "synthetic" else self.paths.logs
        return FileJournal(directory=base / "vms", clock=self.clock)

    @cached_property
    def forwards(self) -> Forwards:
        """Ports of VMs on this host's loopback."""
        if self.engine_name == "synthetic":
            return NoForwards()
        from tachikoma.ssh.forwards import SshForwards

        return SshForwards(directory=self.paths.config / "forwards", clock=self.clock)

    @cached_property
    def pruner(self) -> Pruner:
        """What removes VMs that nobody uses."""
        from tachikoma.vm.pruning import Pruner

        heart = self.orchestrator
        return Pruner(ports=self.ports, survey=heart.survey, destroy=heart.destroy)

    @cached_property
    def proposer(self) -> Proposer:
        """What commits, pushes and opens pull requests."""
        from tachikoma.git.github import GitHub
        from tachikoma.git.publishing import GitPublishing
        from tachikoma.vm.proposing import Proposer

        return Proposer(
            ports=self.ports,
            publishing=GitPublishing(environ=self.environ),
            forge=GitHub(environ=self.environ),
        )

    @cached_property
    def keeping(self) -> Keeping:
        """Checkpoints of VMs."""
        from tachikoma.vm.keeping import Keeping

        return Keeping(ports=self.ports)

    @cached_property
    def orchestrator(self) -> VmOrchestrator:
        """The heart."""
        return VmOrchestrator(ports=self.ports)


class _Keys:
    """The waterfall's answer as the variable that Claude Code takes it in."""

    def __init__(self, waterfall: Waterfall) -> None:
        self._waterfall = waterfall

    async def current(self) -> Secret:
        """Give the credential of the moment."""
        found = await self._waterfall.current()
        variables = {"oauth": "CLAUDE_CODE_OAUTH_TOKEN", "api_key": "ANTHROPIC_API_KEY"}
        return Secret(variables.get(found.kind, ""), found.secret, found.source)


class _Later:
    """Stands for a part until its first use: `list` is handed all of them and uses half."""

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make

    def __getattr__(self, name: str) -> object:
        return getattr(self._make(), name)


def _later(make: Callable[[], _Part]) -> _Part:
    return cast("_Part", _Later(make))
