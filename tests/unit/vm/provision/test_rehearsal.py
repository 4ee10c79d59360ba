from __future__ import annotations

from dataclasses import replace

from tachikoma.model.names import VmName
from tachikoma.model.vm import GuestCommand, GuestExit, Launch
from tachikoma.vm.provision import guest
from tachikoma.vm.provision.plan import MARK, READY_FILE, make_plan
from tachikoma.vm.provision.rehearsal import RehearsedGuest
from tests.unit.vm.provision.test_plan import SITE

VM = VmName("tachikoma-app-topic")
LOOK = GuestCommand(("/bin/cat", READY_FILE))
NOT_READY = GuestExit(1, b"", b"no such file\n")


def provisioning(token: str = "") -> GuestCommand:
    plan = make_plan(SITE, token=token, now=0.0)
    return GuestCommand(plan.argv, stdin=plan.stdin)


def test_a_new_guest_is_not_ready() -> None:
    assert RehearsedGuest()(VM, Launch(), LOOK) == NOT_READY


def test_a_provisioned_guest_says_each_step_and_knows_its_plan() -> None:
    rehearsed, launch = RehearsedGuest(), Launch()
    ended = rehearsed(VM, launch, provisioning("the-token"))
    *said, ready = ended.stdout.decode().splitlines()
    (key,) = (line for line in said if "hostkey" in line)
    said.remove(key)
    assert ended.status == 0
    assert said == [f"{MARK} step {name}" for name, _ in guest.STEPS]
    assert key.startswith(f"{MARK} hostkey ssh-ed25519 AAAA")
    digest = make_plan(SITE, token="the-token", now=0.0).digest
    assert ready == f"{MARK} ready {digest}"
    assert rehearsed(VM, launch, LOOK) == GuestExit(0, digest.encode(), b"")
    ((vm, plan),) = rehearsed.plans
    assert (vm, "the-token" in plan["environment"]) == (VM, True)


def test_readiness_ends_with_the_boot_and_is_of_one_vm() -> None:
    rehearsed, launch = RehearsedGuest(), Launch()
    rehearsed(VM, launch, provisioning())
    assert rehearsed(VM, replace(launch), LOOK) == NOT_READY
    assert rehearsed(VmName("tachikoma-app-other"), launch, LOOK) == NOT_READY


def test_a_step_told_to_fail_is_the_last_and_leaves_the_guest_unready() -> None:
    rehearsed, launch = RehearsedGuest(), Launch()
    first, second, *_ = (name for name, _ in guest.STEPS)
    rehearsed.fail_step = second
    said = f"{MARK} step {first}\n{MARK} step {second}\n".encode()
    assert rehearsed(VM, launch, provisioning()) == GuestExit(1, said, b"it broke here\n")
    assert rehearsed(VM, launch, LOOK) == NOT_READY


def test_any_other_command_does_not_exist() -> None:
    ended = RehearsedGuest()(VM, Launch(), GuestCommand(("/bin/rm", "-rf", "/")))
    assert ended == GuestExit(127, b"", b"/bin/rm: not found\n")
