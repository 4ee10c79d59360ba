from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.hypervisor.synthetic import Synthetic
from tachikoma.model.errors import (
    AgentError,
    BootTimeoutError,
    ConfigError,
    DiskFullError,
    HypervisorError,
    ImageNotFoundError,
    ProvisionFailed,
    ProxyError,
    TachikomaError,
    VmStateError,
)
from tachikoma.model.events import Notice, StepEnded, StepProgress, StepStarted
from tachikoma.model.names import VmName
from tachikoma.model.settings import Settings
from tachikoma.model.vm import Endpoint, Feature, Features, Launch, Mount, Network, VmState
from tachikoma.state.port import VmRecord
from tachikoma.vm.requests import How
from tachikoma.vm.spawning import Spawning
from tests.unit.vm.conftest import REPOSITORY, Bench

NAME = VmName("tachikoma-app-main")
SETTINGS = Settings(boot_timeout_secs=30)


@pytest.fixture
def record(bench: Bench) -> VmRecord:
    """Have the record that the orchestrator claims before it brings a VM up."""
    made = VmRecord(
        name=NAME,
        repository=bench.repository.git_dir,
        repository_name="app",
        branch="main",
        worktree=REPOSITORY,
        engine="synthetic",
        image="synthetic",
        created=1.0,
        last_used=1.0,
    )
    with bench.store.edit() as ledger:
        ledger.put(made)
    return made


def spawning(bench: Bench, record: VmRecord, settings: Settings = SETTINGS) -> Spawning:
    return Spawning(
        ports=bench.ports(settings),
        repository=bench.repository,
        record=record,
        report=bench.said.append,
    )


def listening(bench: Bench) -> list[Launch]:
    """Hear what the engine is told to start with, from now on."""
    started: list[Launch] = []
    start = bench.engine.start

    async def begin(vm: VmName, launch: Launch) -> None:
        started.append(launch)
        await start(vm, launch)

    bench.engine.start = begin  # type: ignore[method-assign]  # to see what it is told
    return started


async def test_each_step_is_told_as_it_begins_and_as_it_ends(
    bench: Bench, record: VmRecord
) -> None:
    work = spawning(bench, record)
    await work.bring_up()
    told = [event for event in bench.said if isinstance(event, StepStarted | StepEnded)]
    names = ["clone", "start", "await", "provision"]
    assert [event.name for event in told] == [name for name in names for _ in range(2)]
    assert [event.text for event in told if isinstance(event, StepStarted)] == [
        "Making the VM's disk",
        "Starting the VM",
        "Booting",
        "Setting up the VM",
    ]
    assert work.steps == tuple((e.name, e.seconds) for e in told if isinstance(e, StepEnded))
    assert dict(work.steps)["await"] >= 5


async def test_the_way_in_is_the_vms_address_as_the_settings_user(
    bench: Bench, record: VmRecord
) -> None:
    login = await spawning(bench, record, replace(SETTINGS, ssh_user="ada")).bring_up()
    assert login == bench.shell.login(NAME, Endpoint("127.0.0.1", 20_022), "ada")
    assert bench.guest.plans[-1][1]["user"] == "ada"


async def test_a_start_gives_the_vm_what_the_settings_say(bench: Bench, record: VmRecord) -> None:
    started = listening(bench)
    settings = replace(
        SETTINGS,
        vm_cpus=3,
        vm_memory=1024,
        network="open",
        vm_display="gtk",
        credential_proxy=False,
        strict_secrets=True,
    )
    await spawning(bench, record, settings).bring_up()
    info = await bench.engine.find(NAME)
    assert info is not None
    assert (info.cpus, info.memory_mib) == (3, 1024)
    assert started == [
        Launch(mounts=(Mount("code", REPOSITORY),), network=Network.OPEN, proxy=None, display="gtk")
    ]


async def test_the_record_keeps_mounts_time_of_use_and_the_hash_of_the_vms_token(
    bench: Bench, record: VmRecord
) -> None:
    await spawning(bench, record).bring_up()
    kept = bench.store.read().vms[NAME]
    (line,) = (
        line
        for line in bench.guest.plans[-1][1]["environment"].splitlines()
        if line.startswith("export ANTHROPIC_API_KEY=")
    )
    token = line.partition("=")[2]
    assert kept == replace(
        record,
        mounts=(("code", REPOSITORY),),
        token_hashes=(hashlib.sha256(token.encode()).hexdigest(),),
        last_used=bench.clock.now(),
    )


async def test_a_vm_that_is_booting_already_is_awaited_and_set_up(
    bench: Bench, record: VmRecord
) -> None:
    await bench.engine.clone("synthetic", NAME)
    await bench.engine.start(NAME, Launch())
    work = spawning(bench, record)
    await work.bring_up()
    assert [name for name, _ in work.steps] == ["await", "provision"]
    assert work.how is How.PROVISIONED


async def test_a_ready_vm_takes_no_step_but_the_proxy_is_seen_to(
    bench: Bench, record: VmRecord
) -> None:
    await spawning(bench, record).bring_up()
    bench.gateway.ensured = 0
    work = spawning(bench, bench.store.read().vms[NAME])
    await work.bring_up()
    assert (work.how, work.steps, bench.gateway.ensured) == (How.RECONNECTED, (), 1)


async def test_an_ssh_server_that_never_answers_stops_the_vm(
    bench: Bench, record: VmRecord
) -> None:
    bench.shell.listening.clear()
    work = spawning(bench, record)
    with pytest.raises(BootTimeoutError, match="its SSH server answers") as caught:
        await work.bring_up()
    assert caught.value.hint == f"the guest's console is in {bench.engine.log_of(NAME)}"
    assert StepProgress("its SSH server answers") in bench.said
    info = await bench.engine.find(NAME)
    assert info is not None
    assert info.state is VmState.STOPPED


class Forwarding(Synthetic):
    """An engine that has the SSH ports of its VMs at this host's loopback."""

    @property
    def features(self) -> Features:
        return replace(super().features, forwards_ssh=True)


async def test_a_port_of_this_host_is_the_way_in_as_soon_as_the_guest_says_so(
    bench: Bench, record: VmRecord
) -> None:
    bench.engine = Forwarding(file=None, clock=bench.clock, guest=bench.guest)
    bench.shell.listening.clear()  # nobody has to be asked
    login = await spawning(bench, record).bring_up()
    assert login == bench.shell.login(NAME, Endpoint("127.0.0.1", 20_022), "admin")


async def test_a_vm_that_is_found_ready_has_to_answer_wherever_its_port_is(
    bench: Bench, record: VmRecord
) -> None:
    bench.engine = Forwarding(file=None, clock=bench.clock, guest=bench.guest)
    await spawning(bench, record).bring_up()
    bench.shell.listening.clear()
    with pytest.raises(BootTimeoutError, match="its SSH server answers"):
        await spawning(bench, bench.store.read().vms[NAME]).bring_up()


@pytest.mark.parametrize(
    "error",
    [HypervisorError("no golden machine"), AgentError("it is mute"), DiskFullError("full")],
)
async def test_a_vm_that_no_snapshot_can_be_had_for_starts_by_booting(
    bench: Bench, record: VmRecord, error: TachikomaError
) -> None:
    bench.engine.fail_next("warm", error)
    work = spawning(bench, record)
    await work.bring_up()
    assert Notice(f"this VM starts by booting: {error.message}") in bench.said
    assert work.how is How.CREATED


async def test_who_wants_no_snapshot_gets_none(bench: Bench, record: VmRecord) -> None:
    bench.engine.fail_next("warm", HypervisorError("it was asked for"))
    work = spawning(bench, record, replace(SETTINGS, instant_spawn=False))
    await work.bring_up()
    assert [event for event in bench.said if isinstance(event, Notice)] == []
    assert work.how is How.CREATED


async def test_an_unknown_state_is_refused_before_anything_is_done(
    bench: Bench, record: VmRecord
) -> None:
    await bench.engine.clone("synthetic", NAME)
    bench.engine.put_state(NAME, VmState.UNKNOWN)
    bench.engine.calls.clear()
    with pytest.raises(VmStateError, match="tachikoma does not know"):
        await spawning(bench, record).bring_up()
    assert (bench.engine.calls, bench.gateway.ensured) == ([], 0)


async def test_only_the_default_image_is_built_when_it_is_missing(
    bench: Bench, record: VmRecord
) -> None:
    settings = replace(SETTINGS, base_image="own", explicit=frozenset({"base_image"}))
    with pytest.raises(ImageNotFoundError, match="there is no image own"):
        await spawning(bench, record, settings).bring_up()
    assert "build own" not in bench.engine.calls
    await bench.engine.delete_image("synthetic", used_by=())
    await spawning(bench, record).bring_up()
    assert Notice("there is no image synthetic yet: building it, once") in bench.said


class Fetching(Synthetic):
    """An engine whose images are fetched."""

    @property
    def features(self) -> Features:
        no, yes = Feature(available=False, why="they are fetched"), Feature(available=True)
        return replace(super().features, build_images=no, pull_images=yes)


async def test_an_image_that_is_missing_is_fetched_where_images_are(
    bench: Bench, record: VmRecord
) -> None:
    bench.engine = Fetching(file=None, clock=bench.clock, guest=bench.guest)
    settings = replace(SETTINGS, base_image="own", explicit=frozenset({"base_image"}))
    await spawning(bench, record, settings).bring_up()
    assert Notice("there is no image own yet: fetching it, once") in bench.said
    assert bench.engine.calls.count("pull own") == 1
    await bench.engine.stop(NAME, grace_s=0)
    await bench.engine.delete(NAME)
    await spawning(bench, record, settings).bring_up()
    assert bench.engine.calls.count("pull own") == 1


async def test_the_proxy_is_seen_to_while_the_guest_boots(bench: Bench, record: VmRecord) -> None:
    bench.gateway.failure = ProxyError("no proxy", hint="look")
    with pytest.raises(ProxyError):
        await spawning(bench, record).bring_up()
    info = await bench.engine.find(NAME)
    assert info is not None
    assert info.state is VmState.RUNNING
    assert bench.guest.plans == []


async def test_a_linked_worktree_is_shown_with_its_git_directory(bench: Bench) -> None:
    worktree = await bench.git.ensure_worktree(bench.repository, "topic", None)
    record = VmRecord(
        name=VmName("tachikoma-app-topic"),
        repository=bench.repository.git_dir,
        repository_name="app",
        branch="topic",
        worktree=worktree.path,
        engine="synthetic",
        image="synthetic",
        created=1.0,
        last_used=1.0,
    )
    await spawning(bench, record).bring_up()
    plan = bench.guest.plans[-1][1]
    assert [(tag, Path(path)) for tag, path, _ in plan["mounts"]] == [
        ("code", worktree.path),
        ("dotgit", bench.repository.git_dir),
    ]


async def test_the_shares_of_claude_are_started_read_only_and_linked(
    bench: Bench, record: VmRecord
) -> None:
    home = bench.belongings.claude
    bench.belongings.shared = {"skills", "agents"}
    memory = home / "projects" / "-src-app" / "memory"
    bench.belongings.remembers = {REPOSITORY: memory}
    started = listening(bench)
    await spawning(bench, record).bring_up()
    plan = bench.guest.plans[-1][1]
    assert plan["mounts"] == [
        ["code", "/src/app", False],
        ["claude-agents", f"{home}/agents", True],
        ["claude-skills", f"{home}/skills", True],
        ["memory", str(memory), True],
    ]
    assert plan["links"] == [
        [".claude/agents", f"{home}/agents"],
        [".claude/skills", f"{home}/skills"],
        [".claude/projects/-src-app/memory", str(memory)],
    ]
    assert [mount.tag for mount in started[0].mounts if mount.read_only] == [
        "claude-agents",
        "claude-skills",
        "memory",
    ]


async def test_what_is_carried_is_named_before_it_is_put_in(bench: Bench, record: VmRecord) -> None:
    bench.belongings.token = "gho_x"
    work = spawning(bench, record, replace(SETTINGS, sync_gh_auth=True))
    await work.bring_up()
    assert (
        Notice(
            "in the VM because of sync_gh_auth: GH_TOKEN (gh);"
            " sync_gh_auth = false or strict_secrets = true keeps it out"
        )
        in bench.said
    )
    assert [each.name for each in work.carried] == ["GH_TOKEN"]
    bench.said.clear()
    again = spawning(bench, bench.store.read().vms[NAME], replace(SETTINGS, sync_gh_auth=True))
    await again.bring_up()
    assert again.how is How.RECONNECTED
    assert not any(isinstance(event, Notice) for event in bench.said)
    assert [each.name for each in again.carried] == ["GH_TOKEN"]


async def test_a_script_that_is_not_there_stops_the_spawn_before_anything_is_done(
    bench: Bench, record: VmRecord
) -> None:
    work = spawning(bench, record, replace(SETTINGS, provision_scripts=("/x.sh",)))
    with pytest.raises(ConfigError):
        await work.bring_up()
    assert bench.engine.calls == []


async def test_a_script_that_fails_leaves_a_vm_with_a_live_token_that_is_set_up_again(
    bench: Bench, record: VmRecord
) -> None:
    bench.belongings.scripts = {Path("/x.sh"): b"exit 1"}
    settings = replace(SETTINGS, provision_scripts=("/x.sh",))
    bench.guest.fail_step = "scripts"
    with pytest.raises(ProvisionFailed, match="step scripts failed"):
        await spawning(bench, record, settings).bring_up()
    kept = bench.store.read().vms[NAME]
    assert len(kept.token_hashes) == 1
    bench.guest.fail_step = None
    work = spawning(bench, kept, settings)
    await work.bring_up()
    assert work.how is How.PROVISIONED
