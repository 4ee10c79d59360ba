"""One spawn: a VM brought from whatever phase it is in to READY."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from tachikoma.git.port import Repository
from tachikoma.host.timing import lap
from tachikoma.model.errors import (
    AgentError,
    BootTimeoutError,
    DiskFullError,
    HypervisorError,
    VmNotRunningError,
    VmStateError,
)
from tachikoma.model.events import Notice, Report, StepEnded, StepStarted
from tachikoma.model.names import slugify
from tachikoma.model.vm import Endpoint, Launch, Network, VmState
from tachikoma.ssh.port import Login
from tachikoma.state.port import VmRecord
from tachikoma.vm import packing, sighting
from tachikoma.vm.journal import overheard
from tachikoma.vm.lifecycle import Goal, Phase, Step, decide
from tachikoma.vm.ports import Ports
from tachikoma.vm.provision.luggage import Carried, Luggage
from tachikoma.vm.provision.plan import Site, by_depth, make_plan, mounts_for, plan_digest
from tachikoma.vm.provision.run import Findings, provision
from tachikoma.vm.readiness import Requirement, wait_for
from tachikoma.vm.requests import How

_BANNER_S = 2.0
_TOKEN_BYTES = 32
_TOKENS_KEPT = 2
"""A session that began before the VM was provisioned anew still shows the token before."""
_LONGEST_HOST_NAME = 40
_SCRIPTS_S = 3600.0
"""Provision scripts install things; nobody knows how long that takes."""
_INSTALL_S = 900.0
"""What a VM gets on top where it may have to fetch Claude Code, some 90 MB."""

_WORDS = {
    Step.CLONE: "Making the VM's disk",
    Step.START: "Starting the VM",
    Step.AWAIT: "Booting",
    Step.PROVISION: "Setting up the VM",
}


class Spawning:
    """Does what the table says until the VM is READY. Its caller holds the VM's lock."""

    def __init__(
        self, *, ports: Ports, repository: Repository, record: VmRecord, report: Report
    ) -> None:
        self._ports = ports
        self._repository = repository
        self._record = record
        self._report = report
        self._created = self._started = self._provisioned = False
        self._proxy_ensured = False
        self._luggage: Luggage | None = None
        self._endpoint: Endpoint | None = None
        self._steps: list[tuple[str, float]] = []

    @property
    def how(self) -> How:
        """What it took."""
        if self._created:
            return How.CREATED
        if self._started:
            return How.STARTED
        return How.PROVISIONED if self._provisioned else How.RECONNECTED

    @property
    def steps(self) -> tuple[tuple[str, float], ...]:
        """The steps done, with their seconds."""
        return tuple(self._steps)

    @property
    def carried(self) -> tuple[Carried, ...]:
        """What of the user's own in the VM may be a secret."""
        return self._luggage.carried if self._luggage else ()

    async def bring_up(self) -> Login:
        """Act until the VM is READY and its SSH server answers; gives the way in.

        Raises:
            VmStateError: the engine says something that we do not know.
            BootTimeoutError: the guest did not come up in time; the VM is stopped.
            TachikomaError: as ``packing.pack``; nothing was done.
        """
        await self._packed()
        phase = await self._observe()
        while (step := decide(Goal.READY, phase)) is not Step.DONE:
            async with self._timed(step):
                phase = await self._act(step)
        await self._ensure_proxy()
        endpoint = self._endpoint or await self._ssh_answers()
        self._note(last_used=self._ports.clock.now())
        return self._ports.shell.login(self._record.name, endpoint, self._ports.settings.ssh_user)

    async def _observe(self) -> Phase:
        async def expected() -> str:
            return plan_digest(await self._site(), "".join(self._record.token_hashes[:1]))

        return await sighting.closely(self._ports.hypervisor, self._record.name, expected)

    async def _act(self, step: Step) -> Phase:
        match step:
            case Step.CLONE:
                await self._clone()
                return Phase.STOPPED
            case Step.START:
                await self._start()
                return Phase.BOOTING
            case Step.AWAIT:
                await self._await_boot()
                return Phase.BARE if self._started else await self._observe()
            case Step.PROVISION:
                await self._provision()
                self._endpoint = await self._way_in()
                return Phase.READY
            case _:
                vm, log = self._record.name, self._ports.hypervisor.log_of(self._record.name)
                raise VmStateError(
                    f"{vm} is in a state that tachikoma does not know",
                    hint=f"nothing was done; see {log}",
                )

    async def _clone(self) -> None:
        """Clone the image, built or fetched first where the engine can and it is not there."""
        ports, image = self._ports, self._ports.image
        features = ports.hypervisor.features
        if image not in {info.name for info in await ports.images.images()}:
            if features.build_images.available and image == features.default_image:
                self._report(Notice(f"there is no image {image} yet: building it, once"))
                await ports.images.build(image, rebuild=False, report=self._report)
            elif features.pull_images.available:
                self._report(Notice(f"there is no image {image} yet: fetching it, once"))
                await ports.images.pull(image, report=self._report)
        await self._warm(image)
        await ports.hypervisor.clone(image, self._record.name)
        lap("the VM is made")
        self._created = True

    async def _warm(self, image: str) -> None:
        """See to the snapshot that this VM and later ones start from; they can do without."""
        ports, settings = self._ports, self._ports.settings
        if not (settings.instant_spawn and ports.hypervisor.features.instant_spawn.available):
            return
        cpus, memory_mib = settings.vm_cpus, settings.vm_memory
        try:
            await ports.hypervisor.warm(
                image, cpus=cpus, memory_mib=memory_mib, report=self._report
            )
        except (HypervisorError, AgentError, DiskFullError) as error:
            self._report(Notice(f"this VM starts by booting: {error.message}"))

    async def _start(self) -> None:
        """Start the engine first, and see to the proxy while the guest boots."""
        ports, vm = self._ports, self._record.name
        mounts = mounts_for(self._record.worktree, self._repository.git_dir)
        settings = ports.settings
        shown = {mount.path for mount in mounts}
        of_claude = await packing.shares(ports, self._repository.root)
        mounts = by_depth((*mounts, *(mount for mount in of_claude if mount.path not in shown)))
        await ports.hypervisor.configure(vm, cpus=settings.vm_cpus, memory_mib=settings.vm_memory)
        self._note(mounts=tuple((mount.tag, mount.path) for mount in mounts), token_hashes=())
        launch = Launch(
            mounts=mounts,
            network=ports.network,
            proxy=ports.gateway.endpoint if settings.credential_proxy else None,
            display=settings.vm_display,
        )
        await ports.hypervisor.start(vm, launch)
        self._started = True
        await self._ensure_proxy()

    async def _await_boot(self) -> None:
        """Wait for the guest's agent; a VM that does not come up does not stay on."""
        hypervisor, vm = self._ports.hypervisor, self._record.name

        async def still_boots() -> bool:
            info = await hypervisor.find(vm)
            if info is None or info.state is not VmState.RUNNING:
                raise VmNotRunningError(f"{vm} stopped while it booted", hint=hint)
            return False

        async def has_address() -> bool:
            return await hypervisor.address(vm) is not None or await still_boots()

        async def agent_answers() -> bool:
            return await hypervisor.agent_ready(vm) or await still_boots()

        hint = f"the guest's console is in {hypervisor.log_of(vm)}"
        await self._or_stop(
            Requirement("has an address", hint, has_address),
            Requirement("its guest agent answers", hint, agent_answers),
        )

    async def _ssh_answers(self) -> Endpoint:
        """Wait for the SSH banner; costs nothing on a VM that has been up for a while."""
        hypervisor, vm, shell = self._ports.hypervisor, self._record.name, self._ports.shell
        found: list[Endpoint] = []

        async def banner() -> bool:
            endpoint = await hypervisor.address(vm)
            if endpoint is None or not await shell.answers(endpoint, deadline_s=_BANNER_S):
                return False
            found.append(endpoint)
            return True

        hint = f"the guest's console is in {hypervisor.log_of(vm)}"
        await self._or_stop(Requirement("its SSH server answers", hint, banner))
        return found[0]

    async def _way_in(self) -> Endpoint:
        """Give where SSH answers now that the guest has said that its server listens."""
        hypervisor = self._ports.hypervisor
        if hypervisor.features.forwards_ssh:  # no network is in between that could be closed
            endpoint = await hypervisor.address(self._record.name)
            if endpoint is not None:
                return endpoint
        return await self._ssh_answers()

    async def _or_stop(self, *requirements: Requirement) -> None:
        ports, vm = self._ports, self._record.name
        try:
            await wait_for(
                requirements,
                vm=vm,
                deadline_s=ports.settings.boot_timeout_secs,
                clock=ports.clock,
                report=self._report,
            )
        except BootTimeoutError:
            await ports.hypervisor.stop(vm, grace_s=0)
            raise

    async def _provision(self) -> None:
        ports, vm = self._ports, self._record.name
        await self._ensure_proxy()
        token = f"tachikoma-{secrets.token_urlsafe(_TOKEN_BYTES)}"
        luggage = await self._packed()
        for told in luggage.told:
            self._report(Notice(told))
        plan = make_plan(await self._site(), token=token, now=ports.clock.now())

        def set_up(findings: Findings) -> None:
            """Before the scripts, which may work with Claude Code; never before the host keys.

            The VM counts as READY only with the token whose hash comes first here. One whose spawn
            was killed before this is set up again, whatever its guest has got to.
            """
            ports.shell.pin(vm, findings.host_keys)
            self._note(token_hashes=(plan.token_hash, *self._record.token_hashes)[:_TOKENS_KEPT])

        await provision(
            overheard(ports.hypervisor, lambda text: ports.journal.note(vm, text)),
            vm,
            plan,
            deadline_s=ports.settings.boot_timeout_secs
            + (_SCRIPTS_S if luggage.scripts else 0)
            + (_INSTALL_S if ports.hypervisor.features.claude_version else 0),
            report=self._report,
            set_up=set_up,
        )
        lap("the guest is set up")
        self._provisioned = True

    async def _packed(self) -> Luggage:
        """Give what the VM gets of the user's own, as of the beginning of this spawn."""
        if self._luggage is None:
            self._luggage = await packing.pack(self._ports, self._repository.root)
        return self._luggage

    async def _site(self) -> Site:
        ports, record = self._ports, self._record
        identity = await ports.git.identity(record.worktree)
        proxy = ports.hypervisor.proxy_endpoint(ports.gateway.endpoint)
        return Site(
            user=ports.settings.ssh_user,
            hostname=slugify(record.branch, longest=_LONGEST_HOST_NAME),
            branch=record.branch,
            worktree=record.worktree,
            mounts=record.mounts,
            public_key=ports.shell.ensure_key(),
            identity=None if identity is None else (identity.name, identity.email),
            proxy_url=f"http://{proxy}" if ports.settings.credential_proxy else "",
            claude_flags=ports.settings.claude_flags,
            project=self._repository.root,
            luggage=await self._packed(),
            only_by_proxy=ports.network is Network.PROXY,
            share_name=ports.hypervisor.features.share_name,
            public_host_keys=ports.hypervisor.features.public_host_keys,
            claude_version=ports.hypervisor.features.claude_version,
        )

    async def _ensure_proxy(self) -> None:
        if self._ports.settings.credential_proxy and not self._proxy_ensured:
            await self._ports.gateway.ensure(self._report)
            self._proxy_ensured = True

    def _note(self, **changes: object) -> None:
        """Change the record, here and in the file."""
        with self._ports.store.edit() as ledger:
            self._record = replace(ledger.vms.get(self._record.name, self._record), **changes)  # type: ignore[arg-type]  # the names are those of VmRecord
            ledger.put(self._record)

    @asynccontextmanager
    async def _timed(self, step: Step) -> AsyncIterator[None]:
        begun = self._ports.clock.monotonic()
        self._report(StepStarted(step.value, _WORDS.get(step, step.value)))
        yield
        seconds = self._ports.clock.monotonic() - begun
        self._steps.append((step.value, seconds))
        self._report(StepEnded(step.value, seconds))
