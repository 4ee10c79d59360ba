"""What stands beside the synthetic engine (``--hypervisor synthetic``): a shell and a proxy.

Git, settings and the order of things are real; nothing is booted, connected or sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from tachikoma.model.events import Report
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.ssh.memory import MemoryShell
from tachikoma.ssh.port import Login

_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"


class SyntheticShell(MemoryShell):
    """Every synthetic VM takes every login, and every command succeeds without a word."""

    async def answers(self, endpoint: Endpoint, *, deadline_s: float) -> bool:
        """Tell that somebody listens."""
        del endpoint, deadline_s
        return True

    def login(self, vm: VmName, endpoint: Endpoint, user: str) -> Login:
        """Put together how to get into ``vm``, and let it be known there."""
        self.listening.add(endpoint)
        self.pin(vm, [_HOST_KEY])
        return super().login(vm, endpoint, user)

    def attach_argv(
        self, login: Login, *, command: Sequence[str] = (), directory: str = "", tty: bool = True
    ) -> list[str]:
        """Give an argv that says why there is nothing to go into."""
        del command, directory, tty
        return ["echo", f"{login.vm} is synthetic: there is nothing to go into"]


class SyntheticGateway:
    """A proxy that needs no starting."""

    def __init__(self, *, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    async def ensure(self, report: Report) -> None:
        """Do nothing."""
        del report
