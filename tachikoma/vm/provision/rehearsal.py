"""A guest that only says what a provisioned one would: for ``--hypervisor synthetic`` and tests."""

from __future__ import annotations

import json

from tachikoma.model.names import VmName
from tachikoma.model.vm import GuestCommand, GuestExit, Launch
from tachikoma.vm.provision import guest
from tachikoma.vm.provision.plan import MARK, READY_FILE

_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"


class RehearsedGuest:
    """Answers what the heart asks of a guest; anything else is a command that does not exist.

    ``plans`` are the provisioning plans it was given, in order, for tests to look at.
    """

    def __init__(self) -> None:
        self.plans: list[tuple[VmName, guest.Plan]] = []
        self.fail_step: str | None = None
        self._ready: dict[VmName, tuple[Launch | None, bytes]] = {}

    def __call__(self, vm: VmName, launch: Launch | None, command: GuestCommand) -> GuestExit:
        """Answer one command; a new launch is a new boot, with nothing ready."""
        if command.argv == ("/bin/cat", READY_FILE):
            booted, digest = self._ready.get(vm, (None, b""))
            known = booted is launch and digest
            return GuestExit(0, digest, b"") if known else GuestExit(1, b"", b"no such file\n")
        if "python3" in command.argv[0]:
            return self._provision(vm, launch, json.loads(command.stdin))
        return GuestExit(127, b"", f"{command.argv[0]}: not found\n".encode())

    def _provision(self, vm: VmName, launch: Launch | None, plan: guest.Plan) -> GuestExit:
        self.plans.append((vm, plan))
        said = []
        for step, _ in guest.STEPS:
            said.append(f"{MARK} step {step}")
            if step == "host-keys":
                said.append(f"{MARK} hostkey {_HOST_KEY}")
            if step == self.fail_step:
                return GuestExit(1, "\n".join(said).encode() + b"\n", b"it broke here\n")
        said.append(f"{MARK} ready {plan['digest']}")
        self._ready[vm] = (launch, plan["digest"].encode())
        return GuestExit(0, "\n".join(said).encode() + b"\n", b"")
