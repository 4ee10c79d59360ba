"""The orchestrator: observe, decide, act, until the VM is where the user wants it.

Truth is what the engine and a marker inside the guest say; the record holds only what they
cannot tell. Whatever crashes leaves a phase that the next call recognises.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from tachikoma.git.port import Origin, Repository, Worktree
from tachikoma.host.timing import lap
from tachikoma.model.errors import (
    TachikomaError,
    VmBusyError,
    VmNotRunningError,
    VmStateError,
)
from tachikoma.model.events import Notice, Report, StepEnded, StepStarted
from tachikoma.model.names import VmName
from tachikoma.model.vm import VmInfo
from tachikoma.state.port import VmRecord
from tachikoma.vm import registry, sighting
from tachikoma.vm.finding import find_vm
from tachikoma.vm.lifecycle import Goal, Phase, Step, decide
from tachikoma.vm.ports import Ports
from tachikoma.vm.requests import (
    DestroyOutcome,
    DestroyRequest,
    HaltOutcome,
    HaltRequest,
    ReachOutcome,
    ReachRequest,
    SpawnOutcome,
    SpawnRequest,
    StatusOutcome,
    StatusRequest,
    SurveyOutcome,
    SurveyRequest,
    SuspendOutcome,
    SuspendRequest,
    VmReport,
)

_STOP_GRACE_S = 30.0
_LOCK_DEADLINE_S = 900.0
"""Longer than the longest spawn: an image to build, then a boot."""
_AT_REST = (Phase.ABSENT, Phase.STOPPED, Phase.SUSPENDED)
_COMMIT = 12
"""As much of a commit id as people are shown."""


class VmOrchestrator:
    """Brings VMs to where the user wants them: ready, stopped or gone."""

    def __init__(self, *, ports: Ports) -> None:
        self._ports = ports

    async def spawn(self, request: SpawnRequest, report: Report) -> SpawnOutcome:
        """Bring the VM of a branch to READY, whatever phase it is in. Idempotent.

        Raises:
            GitError: no repository, no commit, no branch, or a bad name.
            VmBusyError: another command works on the VM for too long.
            BootTimeoutError: the guest did not come up; the VM is stopped.
            TachikomaError: what a step raises; the VM stays in the phase before that step.
        """
        from tachikoma.vm.spawning import Spawning  # `list` does not wait for it to load

        ports = self._ports
        lap("settings are read")
        repository, worktree = await self._locate(request, report)
        lap("the worktree is there")
        name = await self._claim(repository, worktree)
        async with self._held(name, "spawn", report):
            report = ports.journal.overhearing(name, report)
            record = self._still_claimed(name, repository, worktree)
            lap("the VM has its name and is locked")
            spawning = Spawning(ports=ports, repository=repository, record=record, report=report)
            try:
                login = await spawning.bring_up()
            except TachikomaError as error:
                ports.journal.note(name, f"failed: {error.message}")
                await self._forget_if_absent(name)
                raise
        return SpawnOutcome(
            name=name,
            repository=repository.git_dir,
            branch=worktree.branch,
            worktree=worktree.path,
            login=login,
            how=spawning.how,
            steps=spawning.steps,
            carried=spawning.carried,
        )

    async def reach(self, request: ReachRequest, report: Report) -> ReachOutcome:
        """Find the way into a VM that runs. Changes nothing but its time of last use.

        Raises:
            VmNotFoundError: no VM of that name or branch.
            VmNotRunningError: it does not run, or is not reachable yet.
        """
        del report
        ports = self._ports
        known = await find_vm(ports, request.target)
        phase = await sighting.roughly(ports.hypervisor, known.name)
        endpoint = await ports.hypervisor.address(known.name)
        if known.record is None or phase is not Phase.BOOTING or endpoint is None:
            raise VmNotRunningError(
                f"{known.name} does not run ({phase.value})",
                hint=f"`tachikoma spawn {known.branch}` brings it up",
            )
        record = replace(known.record, last_used=ports.clock.now())
        with ports.store.edit() as ledger:
            if known.name in ledger.vms:
                ledger.put(replace(ledger.vms[known.name], last_used=record.last_used))
        return ReachOutcome(
            name=known.name,
            branch=record.branch,
            worktree=record.worktree,
            login=ports.shell.login(known.name, endpoint, ports.settings.ssh_user),
        )

    async def halt(self, request: HaltRequest, report: Report) -> HaltOutcome:
        """Stop a VM and keep its disk. Does nothing to one that is stopped.

        Raises:
            VmNotFoundError: no VM of that name or branch.
        """
        known = await find_vm(self._ports, request.target)
        async with self._held(known.name, "halt", report):
            done = await self._bring_to(
                Goal.STOPPED, known.name, report, grace_s=0 if request.force else _STOP_GRACE_S
            )
            if Step.STOP not in done:  # a start that was killed may have left something behind
                await self._ports.hypervisor.stop(known.name, grace_s=0)
        return HaltOutcome(name=known.name, branch=known.branch, was_running=Step.STOP in done)

    async def suspend(self, request: SuspendRequest, report: Report) -> SuspendOutcome:
        """Put a VM to rest with its memory; where the engine cannot, stop it, and say so.

        Raises:
            VmNotFoundError: no VM of that name or branch.
            VmInUseError: something in the guest uses the worktree; the VM runs on.
            DiskFullError: no space for its memory; the VM runs on.
        """
        can = self._ports.hypervisor.features.suspend
        goal = Goal.SUSPENDED if can.available else Goal.STOPPED
        known = await find_vm(self._ports, request.target)
        async with self._held(known.name, "suspend", report):
            done = await self._bring_to(goal, known.name, report, grace_s=_STOP_GRACE_S)
        return SuspendOutcome(
            name=known.name,
            branch=known.branch,
            was_running=bool(done),
            suspended=Step.SUSPEND in done,
            why="" if can.available else can.why,
        )

    async def destroy(self, request: DestroyRequest, report: Report) -> DestroyOutcome:
        """Remove a VM with its disk, token, host keys and record; worktree and branch stay.

        The token dies first, the record last: a crash leaves a VM that destroy finds again.

        Raises:
            VmNotFoundError: no VM of that name or branch.
            VmBusyError: it is in use, and the request spares such a one.
        """
        ports = self._ports
        known = await find_vm(ports, request.target)
        async with self._held(known.name, "destroy", report):
            if request.unused_since is not None:
                await self._check_unused(known.name, request.unused_since)
            with ports.store.edit() as ledger:
                if (record := ledger.vms.get(known.name)) is not None:
                    ledger.put(replace(record, token_hashes=()))
            done = await self._bring_to(
                Goal.ABSENT, known.name, report, grace_s=0 if request.force else _STOP_GRACE_S
            )
            if Step.DELETE not in done:  # it is gone, but who deleted it may have been killed
                await ports.hypervisor.delete(known.name)
            ports.shell.forget(known.name)
            ports.journal.forget(known.name)
            with ports.store.edit() as ledger:
                ledger.drop(known.name)
        return DestroyOutcome(
            name=known.name,
            branch=known.branch,
            worktree=known.record.worktree if known.record else None,
        )

    async def survey(self, request: SurveyRequest, report: Report) -> SurveyOutcome:
        """List VMs: what is recorded, what the engine has, and what only one of them knows."""
        del report
        repository: Path | None = None
        if request.repository_at is not None:
            repository = (await self._ports.git.repository(request.repository_at)).git_dir
        records = self._ports.store.read().vms
        seen = {info.name: info for info in await self._ports.hypervisor.vms()}
        reports = (
            _report(name, records.get(name), seen.get(name), self._engine)
            for name in sorted({*records, *seen})
        )
        return SurveyOutcome(vms=tuple(r for r in reports if repository in {None, r.repository}))

    async def status(self, request: StatusRequest, report: Report) -> StatusOutcome:
        """Look closely at one VM.

        Raises:
            VmNotFoundError: no VM of that name or branch.
        """
        del report
        hypervisor = self._ports.hypervisor
        known = await find_vm(self._ports, request.target)
        info = await hypervisor.find(known.name)
        return StatusOutcome(
            vm=_report(known.name, known.record, info, self._engine),
            phase=(await sighting.closely(hypervisor, known.name, None)).value,
            address=await hypervisor.address(known.name),
            mounts=known.record.mounts if known.record else (),
            log=hypervisor.log_of(known.name),
        )

    async def _check_unused(self, vm: VmName, since: float) -> None:
        """Raise VmBusyError if ``vm`` runs, or was used after ``since``; its lock is held."""
        record = self._ports.store.read().vms.get(vm)
        if record is not None and record.last_used > since:
            raise VmBusyError(f"{vm} has just been used", hint="it stays")
        if await sighting.roughly(self._ports.hypervisor, vm) not in _AT_REST:
            raise VmBusyError(f"{vm} runs", hint="`tachikoma halt` stops it")

    # Finding what is meant

    @property
    def _engine(self) -> str:
        return self._ports.hypervisor.features.engine

    async def _locate(self, request: SpawnRequest, report: Report) -> tuple[Repository, Worktree]:
        ports = self._ports
        repository = await ports.git.repository(request.cwd)
        branch = request.branch
        if branch is None:  # "", of a variable that is not set in a script, names no branch
            branch = await ports.git.current_branch(request.cwd)
        worktree = await ports.git.ensure_worktree(repository, branch, ports.settings.worktree_dir)
        if worktree.origin is Origin.FROM_REMOTE:
            report(Notice(f"the branch {branch} is new, made from {worktree.start}"))
        if worktree.origin is Origin.FROM_HEAD:
            report(Notice(f"the branch {branch} is new, made from {worktree.start[:_COMMIT]}"))
        if worktree.origin is not Origin.EXISTING:
            report(Notice(f"its worktree is {worktree.path}"))
        return repository, worktree

    async def _claim(self, repository: Repository, worktree: Worktree) -> VmName:
        """Find the name of the branch's VM, or record one that nobody else has."""
        known = self._ports.store.read().of_branch(repository.git_dir, worktree.branch)
        if known is not None and known.worktree == worktree.path:
            return known.name
        taken = {info.name for info in await self._ports.hypervisor.vms()}
        remote = await self._ports.git.remote(repository)
        with self._ports.store.edit() as ledger:
            fresh = replace(
                self._fresh(repository, worktree, VmName("")),
                remote=registry.remote_of(ledger, repository) or (remote.url if remote else ""),
            )
            return registry.claim(ledger, repository, worktree, taken=taken, fresh=fresh).name

    def _still_claimed(self, name: VmName, repository: Repository, worktree: Worktree) -> VmRecord:
        """Give the record behind ``name`` now that nobody else works on it; a destroy that came
        first has removed it.

        Raises:
            VmBusyError: the name went to another branch meanwhile.
        """
        with self._ports.store.edit() as ledger:
            record = ledger.vms.get(name) or self._fresh(repository, worktree, name)
            if (record.repository, record.branch) != (repository.git_dir, worktree.branch):
                raise VmBusyError(
                    f"the name {name} has just been taken by the branch {record.branch}",
                    hint="run it again: it will take another name",
                )
            ledger.put(record)
        return record

    def _fresh(self, repository: Repository, worktree: Worktree, name: VmName) -> VmRecord:
        now = self._ports.clock.now()
        return VmRecord(
            name=name,
            repository=repository.git_dir,
            repository_name=repository.name,
            branch=worktree.branch,
            worktree=worktree.path,
            engine=self._engine,
            image=self._ports.image,
            created=now,
            last_used=now,
        )

    # Acting

    @asynccontextmanager
    async def _held(self, vm: VmName, purpose: str, report: Report) -> AsyncIterator[None]:
        async with self._ports.store.hold(vm, purpose, report=report, deadline_s=_LOCK_DEADLINE_S):
            yield

    async def _bring_to(
        self, goal: Goal, vm: VmName, report: Report, *, grace_s: float
    ) -> list[Step]:
        """Rest, stop and delete as the table says, without ever asking the guest how it is."""
        hypervisor, clock, done = self._ports.hypervisor, self._ports.clock, list[Step]()
        while (step := decide(goal, await sighting.roughly(hypervisor, vm))) is not Step.DONE:
            begun = clock.monotonic()
            match step:
                case Step.SUSPEND:
                    report(StepStarted(step.value, "Keeping the VM's memory"))
                    await hypervisor.suspend(vm)
                case Step.STOP:
                    report(StepStarted(step.value, "Stopping the VM"))
                    await hypervisor.stop(vm, grace_s=grace_s)
                case Step.DELETE:
                    report(StepStarted(step.value, "Deleting the VM"))
                    await hypervisor.delete(vm)
                case _:
                    raise VmStateError(
                        f"{vm} is in a state in which it cannot be made {goal.value}",
                        hint="`tachikoma status` shows more; nothing was done",
                    )
            await self._ports.forwards.close(vm)
            done.append(step)
            report(StepEnded(step.value, clock.monotonic() - begun))
        return done

    async def _forget_if_absent(self, vm: VmName) -> None:
        """After a failure, no record stays of a VM that never came to be."""
        if await self._ports.hypervisor.find(vm) is None:
            with self._ports.store.edit() as ledger:
                ledger.drop(vm)


def _report(name: VmName, record: VmRecord | None, info: VmInfo | None, engine: str) -> VmReport:
    return VmReport(
        name=name,
        branch=record.branch if record else "",
        repository=record.repository if record else None,
        repository_name=record.repository_name if record else "",
        worktree=record.worktree if record else None,
        engine=record.engine if record else engine,
        image=info.image if info else record.image if record else "",
        state=info.state if info else None,
        cpus=info.cpus if info else 0,
        memory_mib=info.memory_mib if info else 0,
        disk_bytes=info.disk_bytes if info else 0,
        created=record.created if record else None,
        last_used=record.last_used if record else None,
        orphan=record is None or info is None,
    )
