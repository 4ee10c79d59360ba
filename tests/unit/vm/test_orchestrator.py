from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.hypervisor.synthetic import Synthetic
from tachikoma.model.errors import (
    BootTimeoutError,
    DiskFullError,
    HypervisorError,
    ProvisionFailed,
    ProxyError,
    VmInUseError,
    VmNotFoundError,
    VmNotRunningError,
    VmStateError,
)
from tachikoma.model.events import Notice, StepEnded, silent
from tachikoma.model.names import VmName
from tachikoma.model.settings import Settings
from tachikoma.model.vm import Feature, VmState
from tachikoma.vm.requests import (
    DestroyRequest,
    HaltRequest,
    How,
    ReachRequest,
    SpawnOutcome,
    SpawnRequest,
    StatusRequest,
    SurveyRequest,
    SuspendOutcome,
    SuspendRequest,
    Target,
)
from tests.unit.vm.conftest import REPOSITORY, Bench

NAME = VmName("tachikoma-app-topic")
HERE = Target(REPOSITORY)


async def spawn(bench: Bench, branch: str = "topic") -> SpawnOutcome:
    return await bench.orchestrator().spawn(SpawnRequest(REPOSITORY, branch), bench.said.append)


async def test_a_new_branch_gets_a_vm_in_four_steps(bench: Bench) -> None:
    outcome = await spawn(bench)
    assert (outcome.name, outcome.how) == (NAME, How.CREATED)
    assert [name for name, _ in outcome.steps] == ["clone", "start", "await", "provision"]
    assert [e.name for e in bench.said if isinstance(e, StepEnded)] == [n for n, _ in outcome.steps]
    assert outcome.login.vm == NAME


async def test_a_ready_vm_is_reconnected_without_a_step(bench: Bench) -> None:
    await spawn(bench)
    bench.engine.calls.clear()
    outcome = await spawn(bench)
    assert (outcome.how, outcome.steps) == (How.RECONNECTED, ())
    assert bench.engine.calls == [f"execute {NAME}"]


async def test_a_halted_vm_is_started_and_set_up_for_its_new_boot(bench: Bench) -> None:
    await spawn(bench)
    halted = await bench.orchestrator().halt(HaltRequest(Target(REPOSITORY, "topic")), silent)
    assert halted.was_running
    outcome = await spawn(bench)
    assert outcome.how is How.STARTED
    assert [name for name, _ in outcome.steps] == ["start", "await", "provision"]


async def suspend(bench: Bench) -> SuspendOutcome:
    request = SuspendRequest(Target(REPOSITORY, "topic"))
    return await bench.orchestrator().suspend(request, bench.said.append)


async def state(bench: Bench) -> VmState:
    found = await bench.engine.find(NAME)
    assert found is not None
    return found.state


async def test_a_suspended_vm_goes_on_with_new_mounts_and_a_new_token(bench: Bench) -> None:
    await spawn(bench)
    before = bench.store.read().vms[NAME].token_hashes
    bench.engine.calls.clear()
    assert await suspend(bench) == SuspendOutcome(
        NAME, "topic", was_running=True, suspended=True, why=""
    )
    assert (bench.engine.calls, await state(bench)) == ([f"suspend {NAME}"], VmState.SUSPENDED)
    outcome = await spawn(bench)
    assert outcome.how is How.STARTED
    assert [name for name, _ in outcome.steps] == ["start", "await", "provision"]
    assert not set(bench.store.read().vms[NAME].token_hashes) & set(before)


@pytest.mark.parametrize("rest", [VmState.SUSPENDED, VmState.STOPPED])
async def test_what_is_at_rest_already_is_not_suspended(bench: Bench, rest: VmState) -> None:
    await spawn(bench)
    bench.engine.put_state(NAME, rest)
    bench.engine.calls.clear()
    assert await suspend(bench) == SuspendOutcome(
        NAME, "topic", was_running=False, suspended=False, why=""
    )
    assert (bench.engine.calls, await state(bench)) == ([], rest)


async def test_an_engine_that_cannot_suspend_shuts_down_and_says_why(bench: Bench) -> None:
    cannot = Feature(available=False, why="not today")
    bench.engine = Synthetic(file=None, clock=bench.clock, guest=bench.guest, suspend=cannot)
    await spawn(bench)
    assert await suspend(bench) == SuspendOutcome(
        NAME, "topic", was_running=True, suspended=False, why="not today"
    )
    assert await state(bench) is VmState.STOPPED


async def test_a_vm_that_is_in_use_runs_on_when_it_cannot_be_suspended(bench: Bench) -> None:
    await spawn(bench)
    bench.engine.fail_next("suspend", VmInUseError("in use", hint="end it"))
    with pytest.raises(VmInUseError):
        await suspend(bench)
    assert await state(bench) is VmState.RUNNING
    assert (await spawn(bench)).how is How.RECONNECTED


async def test_halting_gives_up_the_memory_of_a_suspended_vm(bench: Bench) -> None:
    await spawn(bench)
    await suspend(bench)
    await bench.orchestrator().halt(HaltRequest(Target(REPOSITORY, "topic")), silent)
    assert await state(bench) is VmState.STOPPED


async def test_provisioning_is_one_round_trip_and_a_fresh_boot_is_not_asked(bench: Bench) -> None:
    await spawn(bench)
    assert bench.engine.calls.count(f"execute {NAME}") == 1


async def test_a_change_of_the_plan_sets_a_running_vm_up_again(bench: Bench) -> None:
    await spawn(bench)
    settings = Settings(boot_timeout_secs=30, claude_flags=("--verbose",))
    outcome = await bench.orchestrator(settings).spawn(SpawnRequest(REPOSITORY, "topic"), silent)
    assert outcome.how is How.PROVISIONED


async def test_each_boot_has_one_token_and_only_its_hash_is_kept(bench: Bench) -> None:
    await spawn(bench)
    first = bench.store.read().vms[NAME].token_hashes
    await bench.orchestrator().halt(HaltRequest(Target(REPOSITORY, "topic")), silent)
    await spawn(bench)
    second = bench.store.read().vms[NAME].token_hashes
    assert (len(first), len(second), set(first) & set(second)) == (1, 1, set())
    assert "tachikoma-" not in "".join(second)


async def test_a_session_under_way_keeps_its_token_when_the_plan_changes(bench: Bench) -> None:
    await spawn(bench)
    (before,) = bench.store.read().vms[NAME].token_hashes
    settings = Settings(boot_timeout_secs=30, claude_flags=("--verbose",))
    await bench.orchestrator(settings).spawn(SpawnRequest(REPOSITORY, "topic"), silent)
    now = bench.store.read().vms[NAME].token_hashes
    assert len(now) == 2
    assert now[1] == before


async def test_a_vm_whose_host_key_nobody_noted_is_set_up_again(bench: Bench) -> None:
    await spawn(bench)
    bench.shell.forget(NAME)
    with bench.store.edit() as ledger:  # as a spawn leaves it that was killed before it had noted
        ledger.put(replace(ledger.vms[NAME], token_hashes=()))
    assert (await spawn(bench)).how is How.PROVISIONED
    assert NAME in bench.shell.pins


async def test_destroy_leaves_neither_vm_nor_record_nor_host_key(bench: Bench) -> None:
    outcome = await spawn(bench)
    gone = await bench.orchestrator().destroy(DestroyRequest(Target(REPOSITORY, "topic")), silent)
    assert gone.worktree == outcome.worktree
    assert await bench.engine.vms() == []
    assert bench.store.read().vms == {}
    assert NAME not in bench.shell.pins


async def test_what_a_killed_destroy_began_the_next_one_ends(bench: Bench) -> None:
    await spawn(bench)
    await bench.engine.stop(NAME, grace_s=0)
    await bench.engine.delete(NAME)  # which was killed before all files were gone
    bench.engine.calls.clear()
    await bench.orchestrator().destroy(DestroyRequest(Target(REPOSITORY, "topic")), silent)
    assert bench.engine.calls == [f"delete {NAME}"]
    assert bench.store.read().vms == {}


async def test_a_vm_that_does_not_come_up_is_stopped(bench: Bench) -> None:
    bench.engine.agent_answers = False
    with pytest.raises(BootTimeoutError, match="its guest agent answers"):
        await spawn(bench)
    found = await bench.engine.find(NAME)
    assert found is not None
    assert found.state is VmState.STOPPED
    bench.engine.agent_answers = True
    assert (await spawn(bench)).how is How.STARTED


@pytest.mark.parametrize("asked", ["address", "agent_ready"])
async def test_a_vm_that_dies_while_it_boots_is_told_from_a_slow_one(
    bench: Bench, asked: str
) -> None:
    original = getattr(bench.engine, asked)

    async def dying(vm: VmName) -> object:
        bench.engine.crash(vm)
        return await original(vm)

    setattr(bench.engine, asked, dying)  # the guest's own doing
    with pytest.raises(VmNotRunningError, match="stopped while it booted"):
        await spawn(bench)


async def test_a_step_that_fails_in_the_guest_is_named_and_can_be_tried_again(bench: Bench) -> None:
    bench.guest.fail_step = "mounts"
    with pytest.raises(ProvisionFailed, match="step mounts failed") as caught:
        await spawn(bench)
    assert "it broke here" in caught.value.details
    bench.guest.fail_step = None
    assert (await spawn(bench)).how is How.PROVISIONED


@pytest.mark.parametrize("method", ["clone", "build"])
async def test_a_vm_that_never_came_to_be_leaves_no_record(bench: Bench, method: str) -> None:
    if method == "build":
        await bench.engine.delete_image("synthetic", used_by=())
    bench.engine.fail_next(method, DiskFullError("full", hint="free some"))
    with pytest.raises(DiskFullError):
        await spawn(bench)
    assert bench.store.read().vms == {}


async def test_a_missing_default_image_is_built_first(bench: Bench) -> None:
    await bench.engine.delete_image("synthetic", used_by=())
    assert (await spawn(bench)).how is How.CREATED
    assert "build synthetic" in bench.engine.calls


@pytest.mark.parametrize("step", ["clone", "configure", "start"])
async def test_a_failed_step_is_done_by_the_next_spawn(bench: Bench, step: str) -> None:
    bench.engine.fail_next(step, HypervisorError("broken", hint="try again"))
    with pytest.raises(HypervisorError):
        await spawn(bench)
    assert (await spawn(bench)).name == NAME


async def test_the_proxy_is_seen_to_once_for_each_spawn_also_a_reconnecting_one(
    bench: Bench,
) -> None:
    await spawn(bench)
    await spawn(bench)
    assert bench.gateway.ensured == 2


async def test_without_the_proxy_the_guest_is_given_no_token(bench: Bench) -> None:
    settings = Settings(boot_timeout_secs=30, credential_proxy=False, strict_secrets=True)
    await bench.orchestrator(settings).spawn(SpawnRequest(REPOSITORY, "topic"), silent)
    assert bench.gateway.ensured == 0
    ((_, plan),) = bench.guest.plans
    assert "ANTHROPIC" not in plan["environment"]
    again = await bench.orchestrator(settings).spawn(SpawnRequest(REPOSITORY, "topic"), silent)
    assert again.how is How.RECONNECTED


async def test_a_proxy_that_fails_leaves_a_vm_that_the_next_spawn_takes_up(bench: Bench) -> None:
    bench.gateway.failure = ProxyError("no proxy", hint="look")
    with pytest.raises(ProxyError):
        await spawn(bench)
    bench.gateway.failure = None
    assert (await spawn(bench)).name == NAME


async def test_what_the_engine_cannot_explain_is_not_touched(bench: Bench) -> None:
    await spawn(bench)
    bench.engine.put_state(NAME, VmState.UNKNOWN)
    bench.engine.calls.clear()
    for work in (
        spawn(bench),
        bench.orchestrator().halt(HaltRequest(Target(REPOSITORY, "topic")), silent),
        bench.orchestrator().suspend(SuspendRequest(Target(REPOSITORY, "topic")), silent),
        bench.orchestrator().destroy(DestroyRequest(Target(REPOSITORY, "topic")), silent),
    ):
        with pytest.raises(VmStateError):
            await work
    assert bench.engine.calls == []
    assert NAME in bench.store.read().vms


async def test_two_spawns_of_one_branch_make_one_vm(bench: Bench) -> None:
    one, other = await asyncio.gather(spawn(bench), spawn(bench))
    assert {one.how, other.how} == {How.CREATED, How.RECONNECTED}
    assert bench.engine.calls.count(f"clone {NAME}") == 1


async def test_two_branches_with_one_slug_are_two_vms(bench: Bench) -> None:
    assert (await spawn(bench, "a/b")).name != (await spawn(bench, "a-b")).name


async def test_a_new_branch_is_told_with_a_short_commit_and_its_worktree(bench: Bench) -> None:
    outcome = await spawn(bench)
    commit = await bench.git.head(outcome.worktree)
    assert len(commit) == 40
    assert bench.said[:2] == [
        Notice(f"the branch topic is new, made from {commit[:12]}"),
        Notice(f"its worktree is {outcome.worktree}"),
    ]


async def test_the_current_branch_is_meant_when_none_is_named(bench: Bench) -> None:
    outcome = await bench.orchestrator().spawn(SpawnRequest(REPOSITORY), silent)
    assert (outcome.branch, outcome.worktree) == ("main", REPOSITORY)


async def test_halting_or_reaching_what_is_not_there_says_so(bench: Bench) -> None:
    for target in (HERE, Target(REPOSITORY, "nothing"), Target(Path("/nowhere"), "nothing")):
        with pytest.raises(VmNotFoundError):
            await bench.orchestrator().halt(HaltRequest(target), silent)


async def test_a_running_vm_is_reached_and_a_halted_one_is_not(bench: Bench) -> None:
    outcome = await spawn(bench)
    target = Target(REPOSITORY, "topic")
    reached = await bench.orchestrator().reach(ReachRequest(target), silent)
    assert (reached.login, reached.worktree) == (outcome.login, outcome.worktree)
    await bench.orchestrator().halt(HaltRequest(target), silent)
    with pytest.raises(VmNotRunningError):
        await bench.orchestrator().reach(ReachRequest(target), silent)


async def test_a_survey_shows_records_without_vms_and_vms_without_records(bench: Bench) -> None:
    await spawn(bench)
    await bench.engine.clone("synthetic", VmName("tachikoma-app-lost"))
    with bench.store.edit() as ledger:
        ledger.put(replace(ledger.vms[NAME], name=VmName("tachikoma-app-gone"), branch="gone"))
    vms = (await bench.orchestrator().survey(SurveyRequest(), silent)).vms
    assert [(vm.name, vm.state, vm.orphan) for vm in vms] == [
        ("tachikoma-app-gone", None, True),
        ("tachikoma-app-lost", VmState.STOPPED, True),
        (NAME, VmState.RUNNING, False),
    ]


async def test_a_survey_of_one_repository_leaves_the_others_out(bench: Bench) -> None:
    await spawn(bench)
    bench.git.add_repository(Path("/src/other"))
    await bench.orchestrator().spawn(SpawnRequest(Path("/src/other")), silent)
    vms = (await bench.orchestrator().survey(SurveyRequest(REPOSITORY), silent)).vms
    assert [vm.name for vm in vms] == [NAME]


async def test_a_vm_without_a_record_can_be_destroyed_by_its_name(bench: Bench) -> None:
    await bench.engine.clone("synthetic", VmName("tachikoma-app-lost"))
    await bench.orchestrator().destroy(
        DestroyRequest(Target(Path("/nowhere"), "tachikoma-app-lost")), silent
    )
    assert await bench.engine.vms() == []


@pytest.mark.parametrize("running", [True, False])
async def test_status_tells_phase_and_address(bench: Bench, running: bool) -> None:
    outcome = await spawn(bench)
    target = Target(REPOSITORY, "topic")
    if not running:
        await bench.orchestrator().halt(HaltRequest(target), silent)
    status = await bench.orchestrator().status(StatusRequest(target), silent)
    assert status.phase == ("ready" if running else "stopped")
    assert status.address == (outcome.login.endpoint if running else None)
    assert status.mounts == (
        ("code", outcome.worktree),
        ("dotgit", REPOSITORY / ".git"),
    )
