"""The parts of Tart as an engine, joined; each is made on first use."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from tachikoma.host.clock import Clock
from tachikoma.hypervisor.tart.addresses import LEASES, Addresses, reach
from tachikoma.hypervisor.tart.checkpoints import TartCheckpoints
from tachikoma.hypervisor.tart.engine import Tart
from tachikoma.hypervisor.tart.images import TartImages
from tachikoma.hypervisor.tart.program import Processes, Program
from tachikoma.hypervisor.tart.records import Records


class TartParts:
    """Engine, images and checkpoints over one ``tart`` program.

    ``environ`` is what it is started with, ``data`` where our records of its VMs are, and
    ``ssh_port`` the port of the guests' SSH servers.
    """

    def __init__(
        self, *, environ: Mapping[str, str], data: Path, ssh_port: int, clock: Clock
    ) -> None:
        self._program = Program(environ=environ, tool=Processes())
        self._records = Records(directory=data)
        self._ssh_port = ssh_port
        self._clock = clock

    @cached_property
    def engine(self) -> Tart:
        """The VMs."""
        addresses = Addresses(
            program=self._program,
            port=self._ssh_port,
            leases=LEASES,
            reach=reach,
            now=self._clock.now,
        )
        return Tart(
            program=self._program, records=self._records, addresses=addresses, clock=self._clock
        )

    @cached_property
    def images(self) -> TartImages:
        """What VMs are made from."""
        return TartImages(program=self._program, clock=self._clock)

    @cached_property
    def checkpoints(self) -> TartCheckpoints:
        """Earlier states of the VMs' disks."""
        return TartCheckpoints(
            engine=self.engine, program=self._program, records=self._records, clock=self._clock
        )
