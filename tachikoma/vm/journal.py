"""What a guest says while it is set up, heard on the way by the journal of its VM."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from tachikoma.hypervisor.port import Hypervisor, OnOutput
from tachikoma.model.names import VmName
from tachikoma.model.vm import GuestCommand, GuestExit, Stream


def overheard(hypervisor: Hypervisor, note: Callable[[str], None]) -> Hypervisor:
    """Give ``hypervisor`` as it is, but each line that a guest's command says goes to ``note``.

    What is sent to the guest is not noted: a plan holds the VM's token.
    """
    return cast("Hypervisor", _Overheard(hypervisor, note))


class _Overheard:
    """Stands before an engine."""

    def __init__(self, hypervisor: Hypervisor, note: Callable[[str], None]) -> None:
        self._hypervisor = hypervisor
        self._note = note

    async def execute(
        self, vm: VmName, command: GuestCommand, on_output: OnOutput | None = None
    ) -> GuestExit:
        """Run ``command`` as the engine does."""
        begun: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}

        def hear(stream: Stream, data: bytes) -> None:
            *lines, begun[stream] = (begun[stream] + data).split(b"\n")
            for line in lines:
                self._note(line.decode("utf-8", "replace"))
            if on_output is not None:
                on_output(stream, data)

        try:
            return await self._hypervisor.execute(vm, command, hear)
        finally:
            for rest in filter(None, begun.values()):
                self._note(rest.decode("utf-8", "replace"))

    def __getattr__(self, name: str) -> object:
        return getattr(self._hypervisor, name)
