from __future__ import annotations

from collections.abc import Callable

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.hypervisor.synthetic import Synthetic
from tachikoma.model.errors import ProvisionFailed, VmNotRunningError
from tachikoma.model.events import Event, StepProgress, silent
from tachikoma.model.names import VmName
from tachikoma.model.vm import GuestCommand, GuestExit, Launch
from tachikoma.vm.provision.plan import READY_FILE, Plan
from tachikoma.vm.provision.run import Findings, provision, provisioned_with

VM = VmName("tachikoma-app-main")
PLAN = Plan(argv=("/usr/bin/python3", "guest"), stdin=b"{}", digest="d1", token_hash="t1")

Respond = Callable[[GuestCommand], GuestExit]


async def running(respond: Respond) -> Synthetic:
    """Give an engine in which the VM runs and its guest answers with ``respond``."""

    def guest(vm: VmName, launch: Launch | None, command: GuestCommand) -> GuestExit:
        return respond(command)

    engine = Synthetic(file=None, clock=FakeClock(), guest=guest)
    await engine.clone("synthetic", VM)
    await engine.start(VM, Launch())
    return engine


def ignored(_findings: Findings) -> None:
    """Do nothing with what was found."""


def saying(stdout: bytes, *, status: int = 0, stderr: bytes = b"") -> Respond:
    return lambda _command: GuestExit(status, stdout, stderr)


async def test_the_plan_runs_as_it_is_within_its_deadline() -> None:
    ran: list[GuestCommand] = []

    def respond(command: GuestCommand) -> GuestExit:
        ran.append(command)
        return GuestExit(0, b"@tachikoma ready d1\n", b"")

    await provision(await running(respond), VM, PLAN, deadline_s=7.0, report=silent, set_up=ignored)
    assert ran == [GuestCommand(PLAN.argv, stdin=PLAN.stdin, deadline_s=7.0)]


async def test_steps_become_progress_and_host_keys_become_findings() -> None:
    told = (
        b"@tachikoma step user\nsomething else\n@tachikoma step ssh\n"
        b"@tachikoma hostkey ssh-ed25519 AAAA\n@tachikoma hostkey ssh-rsa BBBB\n"
        b"@tachikoma ready d1\n"
    )
    said: list[Event] = []
    found: list[Findings] = []
    await provision(
        await running(saying(told)),
        VM,
        PLAN,
        deadline_s=60.0,
        report=said.append,
        set_up=found.append,
    )
    assert found == [Findings(host_keys=("ssh-ed25519 AAAA", "ssh-rsa BBBB"))]
    assert said == [StepProgress("user"), StepProgress("ssh")]


async def test_a_failed_step_is_named_with_the_last_lines_of_both_outputs() -> None:
    noise = b"".join(b"line %d\n" % number for number in range(30))
    told = b"@tachikoma step mounts\n" + noise
    engine = await running(saying(told, status=1, stderr=b"no such tag\n"))
    with pytest.raises(ProvisionFailed) as caught:
        await provision(engine, VM, PLAN, deadline_s=60.0, report=silent, set_up=ignored)
    assert caught.value.message == (f"{VM}: the provisioning step mounts failed (exit status 1)")
    assert caught.value.details.splitlines() == [
        *(f"line {number}" for number in range(16, 30)),
        "no such tag",
    ]


@pytest.mark.parametrize("last", [b"", b"@tachikoma ready d2\n", b"@tachikoma ready d1"])
async def test_a_guest_that_does_not_say_the_right_last_line_is_not_ready(last: bytes) -> None:
    engine = await running(saying(b"@tachikoma step claude\n" + last))
    with pytest.raises(ProvisionFailed, match=r"step claude failed \(exit status 0\)"):
        await provision(engine, VM, PLAN, deadline_s=60.0, report=silent, set_up=ignored)


async def test_what_a_guest_says_without_the_mark_is_only_text() -> None:
    told = b"x@tachikoma step evil\ntachikoma ready d1\n\xff\xfe\n@tachikoma ready d1\n"
    said: list[Event] = []
    found: list[Findings] = []
    await provision(
        await running(saying(told)),
        VM,
        PLAN,
        deadline_s=60.0,
        report=said.append,
        set_up=found.append,
    )
    assert (found, said) == ([Findings(host_keys=())], [])


async def test_what_was_found_is_handed_on_before_the_scripts_even_if_one_fails() -> None:
    told = b"@tachikoma hostkey ssh-ed25519 AAAA\n@tachikoma step scripts\n"
    found: list[Findings] = []
    with pytest.raises(ProvisionFailed, match="the provisioning step scripts failed"):
        await provision(
            await running(saying(told, status=1)),
            VM,
            PLAN,
            deadline_s=60.0,
            report=silent,
            set_up=found.append,
        )
    assert found == [Findings(host_keys=("ssh-ed25519 AAAA",))]


async def test_a_script_that_fails_is_named_with_its_output() -> None:
    told = b"@tachikoma step scripts\n@tachikoma step script set up.sh\n"
    engine = await running(saying(told, status=1, stderr=b"no package by that name\n"))
    with pytest.raises(ProvisionFailed) as caught:
        await provision(engine, VM, PLAN, deadline_s=60.0, report=silent, set_up=ignored)
    assert caught.value.message == f"{VM}: the provision script set up.sh failed"
    assert caught.value.details == "no package by that name"
    assert "enter" in caught.value.hint


async def test_a_guest_that_fails_before_hands_nothing_on() -> None:
    found: list[Findings] = []
    with pytest.raises(ProvisionFailed):
        await provision(
            await running(saying(b"@tachikoma step git\n", status=1)),
            VM,
            PLAN,
            deadline_s=60.0,
            report=silent,
            set_up=found.append,
        )
    assert found == []


async def test_the_ready_file_tells_the_plan_of_this_boot() -> None:
    asked: list[tuple[str, ...]] = []

    def respond(command: GuestCommand) -> GuestExit:
        asked.append(command.argv)
        return GuestExit(0, b"d1\n", b"")

    assert await provisioned_with(await running(respond), VM) == "d1"
    assert asked == [("/bin/cat", READY_FILE)]


async def test_without_a_ready_file_no_plan_is_told() -> None:
    engine = await running(saying(b"d1", status=1, stderr=b"no such file\n"))
    assert await provisioned_with(engine, VM) == ""


async def test_a_vm_that_does_not_run_is_not_asked() -> None:
    engine = await running(saying(b"d1"))
    engine.crash(VM)
    with pytest.raises(VmNotRunningError):
        await provisioned_with(engine, VM)
