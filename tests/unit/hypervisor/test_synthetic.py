from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.hypervisor.port import Checkpoints, Hypervisor, Images
from tachikoma.hypervisor.synthetic import Synthetic
from tachikoma.model.errors import (
    AgentError,
    CheckpointError,
    DiskFullError,
    HypervisorError,
    ImageInUseError,
    ImageNotFoundError,
    VmExistsError,
    VmNotFoundError,
    VmNotRunningError,
)
from tachikoma.model.events import Event, silent
from tachikoma.model.names import VmName
from tachikoma.model.vm import (
    Checkpoint,
    Endpoint,
    Feature,
    GuestCommand,
    GuestExit,
    Launch,
    Mount,
    Network,
    Stream,
    VmInfo,
    VmState,
)

VM, OTHER = VmName("tachikoma-repo-main"), VmName("tachikoma-repo-other")
LAUNCH = Launch(
    mounts=(Mount("work", Path("/src/a b")), Mount("git", Path("/src/.git"), read_only=True)),
    network=Network.OPEN,
    proxy=Endpoint("127.0.0.1", 19280),
)
COMMAND = GuestCommand(argv=("echo", "a b"), user="admin", stdin=b"in", deadline_s=30)


class Recorder:
    """A guest that keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[VmName, Launch | None, GuestCommand]] = []

    def __call__(self, vm: VmName, launch: Launch | None, command: GuestCommand) -> GuestExit:
        self.asked.append((vm, launch, command))
        return GuestExit(3, b"one\ntwo", b"oops\n")


@pytest.fixture(params=["in memory", "in a file"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "deep" / "synthetic.json" if request.param == "in a file" else None


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def guest() -> Recorder:
    return Recorder()


@pytest.fixture
def engine(file: Path | None, clock: FakeClock, guest: Recorder) -> Synthetic:
    return Synthetic(file=file, clock=clock, guest=guest)


def test_it_is_a_hypervisor_and_has_images_and_checkpoints(engine: Synthetic) -> None:
    hypervisor: Hypervisor = engine
    images: Images = engine
    checkpoints: Checkpoints = engine
    assert callable(images.build)
    assert callable(checkpoints.save_checkpoint)
    features = hypervisor.features
    assert (features.engine, features.default_image) == ("synthetic", "synthetic")
    assert (features.default_network, features.proxy_bind) == (Network.PROXY, "127.0.0.1")
    assert features.suspend.available
    assert features.instant_spawn.available
    assert features.checkpoints.available
    assert not features.forwards_ssh


def test_it_says_of_suspending_what_it_is_told(clock: FakeClock, guest: Recorder) -> None:
    cannot = Feature(available=False, why="not today")
    engine = Synthetic(file=None, clock=clock, guest=guest, suspend=cannot)
    assert engine.features.suspend == cannot


async def test_at_first_there_is_no_vm_and_one_image(engine: Synthetic) -> None:
    assert await engine.vms() == []
    assert await engine.find(VM) is None
    assert [each.name for each in await engine.images()] == ["synthetic"]


async def test_a_clone_is_stopped_and_listed_by_name(engine: Synthetic) -> None:
    await engine.clone("synthetic", OTHER)
    await engine.clone("synthetic", VM)
    assert [each.name for each in await engine.vms()] == [VM, OTHER]
    info = await engine.find(VM)
    assert info == VmInfo(
        name=VM,
        state=VmState.STOPPED,
        image="synthetic",
        cpus=1,
        memory_mib=512,
        disk_bytes=1 << 20,
    )


async def test_a_clone_of_no_image_leaves_nothing(engine: Synthetic) -> None:
    with pytest.raises(ImageNotFoundError, match="ubuntu"):
        await engine.clone("ubuntu", VM)
    assert await engine.vms() == []


async def test_a_clone_over_a_vm_leaves_that_untouched(engine: Synthetic) -> None:
    await engine.clone("synthetic", VM)
    await engine.configure(VM, cpus=3, memory_mib=999)
    with pytest.raises(VmExistsError):
        await engine.clone("synthetic", VM)
    (info,) = await engine.vms()
    assert (info.cpus, info.memory_mib) == (3, 999)


async def test_what_is_not_there_cannot_be_configured_or_started(engine: Synthetic) -> None:
    with pytest.raises(VmNotFoundError):
        await engine.configure(VM, cpus=1, memory_mib=512)
    with pytest.raises(VmNotFoundError):
        await engine.start(VM, LAUNCH)


async def test_what_is_not_there_is_stopped_and_deleted_already(engine: Synthetic) -> None:
    await engine.stop(VM, grace_s=5)
    await engine.delete(VM)
    assert await engine.address(VM) is None
    assert not await engine.agent_ready(VM)
    with pytest.raises(VmNotRunningError):
        await engine.execute(VM, COMMAND)


async def test_each_running_vm_answers_at_a_port_of_its_own(engine: Synthetic) -> None:
    await engine.clone("synthetic", VM)
    await engine.clone("synthetic", OTHER)
    assert await engine.address(VM) is None
    await engine.start(VM, LAUNCH)
    await engine.start(OTHER, LAUNCH)
    one, other = await engine.address(VM), await engine.address(OTHER)
    assert one is not None
    assert other is not None
    assert one.host == other.host == "127.0.0.1"
    assert one.port != other.port
    await engine.stop(VM, grace_s=0)
    await engine.start(VM, LAUNCH)
    assert await engine.address(VM) == one


async def test_a_life_goes_from_stopped_to_running_to_stopped_to_gone(engine: Synthetic) -> None:
    states: list[VmState | None] = []

    async def look() -> None:
        info = await engine.find(VM)
        states.append(None if info is None else info.state)

    await engine.clone("synthetic", VM)
    await look()
    await engine.start(VM, LAUNCH)
    await engine.start(VM, LAUNCH)
    await look()
    with pytest.raises(HypervisorError, match="still runs"):
        await engine.delete(VM)
    await engine.stop(VM, grace_s=5)
    await engine.stop(VM, grace_s=5)
    await look()
    await engine.delete(VM)
    await look()
    assert states == [VmState.STOPPED, VmState.RUNNING, VmState.STOPPED, None]


async def test_only_what_runs_is_suspended(engine: Synthetic) -> None:
    with pytest.raises(VmNotFoundError):
        await engine.suspend(VM)
    await engine.clone("synthetic", VM)
    with pytest.raises(VmNotRunningError):
        await engine.suspend(VM)
    await engine.start(VM, LAUNCH)
    await engine.suspend(VM)
    (info,) = await engine.vms()
    assert info.state is VmState.SUSPENDED
    assert await engine.address(VM) is None
    with pytest.raises(VmNotRunningError):
        await engine.suspend(VM)


async def test_checkpoints_are_kept_in_the_order_in_which_they_were_made(
    engine: Synthetic, clock: FakeClock
) -> None:
    await engine.clone("synthetic", VM)
    assert await engine.checkpoints(VM) == []
    begun = clock.now()
    await engine.save_checkpoint(VM, "two")
    await clock.sleep(60)
    await engine.start(VM, LAUNCH)
    await engine.save_checkpoint(VM, "one")
    kept = [Checkpoint("two", begun), Checkpoint("one", begun + 60)]
    assert await engine.checkpoints(VM) == kept
    with pytest.raises(CheckpointError, match="already"):
        await engine.save_checkpoint(VM, "one")
    await engine.delete_checkpoint(VM, "two")
    assert await engine.checkpoints(VM) == kept[1:]


async def test_only_a_vm_at_rest_goes_back_and_only_to_what_is_there(engine: Synthetic) -> None:
    await engine.clone("synthetic", VM)
    await engine.save_checkpoint(VM, "one")
    await engine.start(VM, LAUNCH)
    with pytest.raises(HypervisorError, match="still runs"):
        await engine.restore_checkpoint(VM, "one")
    await engine.stop(VM, grace_s=0)
    await engine.restore_checkpoint(VM, "one")
    for act in (engine.restore_checkpoint, engine.delete_checkpoint):
        with pytest.raises(CheckpointError, match="has no checkpoint two"):
            await act(VM, "two")
    assert [each.label for each in await engine.checkpoints(VM)] == ["one"]


async def test_checkpoints_go_with_their_vm(engine: Synthetic) -> None:
    for _ in range(2):
        await engine.clone("synthetic", VM)
        assert await engine.checkpoints(VM) == []
        await engine.save_checkpoint(VM, "one")
        await engine.delete(VM)
    for ask in (
        engine.checkpoints(VM),
        engine.save_checkpoint(VM, "one"),
        engine.restore_checkpoint(VM, "one"),
        engine.delete_checkpoint(VM, "one"),
    ):
        with pytest.raises(VmNotFoundError):
            await ask


async def test_only_an_image_that_is_there_is_warmed(engine: Synthetic) -> None:
    before = await engine.images()
    await engine.warm("synthetic", cpus=2, memory_mib=512, report=silent)
    assert await engine.images() == before
    with pytest.raises(ImageNotFoundError, match="none"):
        await engine.warm("none", cpus=2, memory_mib=512, report=silent)


async def test_a_suspended_vm_starts_stops_and_goes(engine: Synthetic) -> None:
    await engine.clone("synthetic", VM)
    engine.put_state(VM, VmState.SUSPENDED)
    await engine.start(VM, LAUNCH)
    engine.put_state(VM, VmState.SUSPENDED)
    assert not await engine.agent_ready(VM)
    await engine.stop(VM, grace_s=0)
    engine.put_state(VM, VmState.SUSPENDED)
    await engine.delete(VM)
    assert await engine.vms() == []


async def test_a_vm_in_an_unknown_state_is_neither_started_nor_deleted(
    engine: Synthetic,
) -> None:
    await engine.clone("synthetic", VM)
    engine.put_state(VM, VmState.UNKNOWN)
    with pytest.raises(HypervisorError):
        await engine.start(VM, LAUNCH)
    with pytest.raises(HypervisorError):
        await engine.delete(VM)
    (info,) = await engine.vms()
    assert info.state is VmState.UNKNOWN


async def test_the_agent_answers_once_the_boot_time_has_passed(
    file: Path | None, clock: FakeClock, guest: Recorder
) -> None:
    engine = Synthetic(file=file, clock=clock, guest=guest, boot_s=20)
    await engine.clone("synthetic", VM)
    await engine.start(VM, LAUNCH)
    began = clock.now()
    assert not await engine.agent_ready(VM)
    with pytest.raises(AgentError, match="did not answer in 5 s"):
        await engine.execute(VM, GuestCommand(argv=("true",), deadline_s=5))
    assert clock.now() == began + 5
    assert (await engine.execute(VM, GuestCommand(argv=("true",), deadline_s=60))).status == 3
    assert 20 <= clock.now() - began < 21
    assert await engine.agent_ready(VM)
    await engine.stop(VM, grace_s=5)
    await engine.start(VM, LAUNCH)
    assert not await engine.agent_ready(VM)


async def test_a_command_reaches_the_guest_and_its_output_comes_line_by_line(
    engine: Synthetic, guest: Recorder
) -> None:
    await engine.clone("synthetic", VM)
    await engine.start(VM, LAUNCH)
    seen: list[tuple[Stream, bytes]] = []
    ended = await engine.execute(VM, COMMAND, lambda stream, data: seen.append((stream, data)))
    assert ended == GuestExit(3, b"one\ntwo", b"oops\n")
    assert seen == [("stdout", b"one\n"), ("stdout", b"two"), ("stderr", b"oops\n")]
    assert guest.asked == [(VM, LAUNCH, COMMAND)]


async def test_a_guest_sees_one_launch_for_each_boot(engine: Synthetic, guest: Recorder) -> None:
    await engine.clone("synthetic", VM)
    for _ in range(2):
        await engine.start(VM, LAUNCH)
        await engine.execute(VM, COMMAND)
        await engine.execute(VM, COMMAND)
        await engine.stop(VM, grace_s=0)
    first, again, second, _ = (launch for _, launch, _ in guest.asked)
    assert first is again
    assert second is not first
    assert first == second == LAUNCH


async def test_a_deaf_agent_answers_nobody_and_takes_the_whole_grace_to_stop(
    engine: Synthetic, clock: FakeClock
) -> None:
    await engine.clone("synthetic", VM)
    await engine.start(VM, LAUNCH)
    engine.agent_answers = False
    assert not await engine.agent_ready(VM)
    with pytest.raises(AgentError):
        await engine.execute(VM, COMMAND)
    began = clock.now()
    await engine.stop(VM, grace_s=7)
    assert clock.now() == began + 7
    (info,) = await engine.vms()
    assert info.state is VmState.STOPPED


async def test_a_failure_that_was_asked_for_comes_once_and_changes_nothing(
    engine: Synthetic,
) -> None:
    engine.fail_next("clone", DiskFullError("full"))
    engine.fail_next("start", HypervisorError("one"))
    engine.fail_next("start", HypervisorError("two"))
    with pytest.raises(DiskFullError):
        await engine.clone("synthetic", VM)
    assert await engine.vms() == []
    await engine.clone("synthetic", VM)
    for message in ("one", "two"):
        with pytest.raises(HypervisorError, match=message):
            await engine.start(VM, LAUNCH)
    (info,) = await engine.vms()
    assert info.state is VmState.STOPPED
    await engine.start(VM, LAUNCH)
    assert engine.calls == [f"clone {VM}"] * 2 + [f"start {VM}"] * 3


async def test_a_crashed_vm_is_stopped_and_starts_again(engine: Synthetic) -> None:
    await engine.clone("synthetic", VM)
    await engine.start(VM, LAUNCH)
    engine.crash(VM)
    (info,) = await engine.vms()
    assert info.state is VmState.STOPPED
    await engine.start(VM, LAUNCH)
    assert await engine.agent_ready(VM)


async def test_who_wants_to_know_hears_when_a_vm_and_its_disk_are_gone(
    file: Path | None, clock: FakeClock, guest: Recorder
) -> None:
    gone: list[VmName] = []
    engine = Synthetic(file=file, clock=clock, guest=guest, on_delete=gone.append)
    await engine.clone("synthetic", VM)
    await engine.delete(VM)
    await engine.delete(VM)
    assert gone == [VM]


async def test_an_image_is_built_once_and_anew_when_asked(
    engine: Synthetic, clock: FakeClock
) -> None:
    events: list[Event] = []
    first = await engine.build("own", rebuild=False, report=events.append)
    assert len(events) == 1
    await clock.sleep(60)
    assert await engine.build("own", rebuild=False, report=events.append) == first
    assert len(events) == 1
    await engine.clone("own", VM)
    anew = await engine.build("own", rebuild=True, report=silent)
    assert anew.created == first.created + 60
    assert anew.digest != first.digest
    await engine.start(VM, LAUNCH)
    assert [each.name for each in await engine.images()] == ["own", "synthetic"]


async def test_an_image_goes_only_when_nobody_stands_on_it(engine: Synthetic) -> None:
    with pytest.raises(ImageNotFoundError):
        await engine.delete_image("none", used_by=())
    with pytest.raises(ImageInUseError, match=OTHER):
        await engine.delete_image("synthetic", used_by=(OTHER,))
    await engine.clone("synthetic", VM)
    with pytest.raises(ImageInUseError, match=VM):
        await engine.delete_image("synthetic", used_by=())
    await engine.delete(VM)
    await engine.delete_image("synthetic", used_by=())
    assert await engine.images() == []


async def test_images_come_and_go_by_name(engine: Synthetic) -> None:
    first = await engine.pull("theirs", report=silent)
    await engine.push("theirs", "registry/ours:1", report=silent)
    names = [each.name for each in await engine.images()]
    assert names == ["registry/ours:1", "synthetic", "theirs"]
    assert (await engine.images())[0].digest == first.digest
    with pytest.raises(ImageNotFoundError):
        await engine.push("none", "registry/ours:1", report=silent)


def test_the_guest_reaches_the_proxy_where_it_listens(engine: Synthetic) -> None:
    assert engine.proxy_endpoint(Endpoint("127.0.0.1", 19280)) == Endpoint("127.0.0.1", 19280)
    assert VM in engine.log_of(VM)
