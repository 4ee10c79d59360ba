"""A user with Tart's double on PATH, and the engine as ``runtime`` joins it."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from tachikoma.host.clock import SystemClock
from tachikoma.hypervisor.tart.addresses import LEASES, Addresses, reach
from tachikoma.hypervisor.tart.engine import Tart
from tachikoma.hypervisor.tart.program import Processes, Program
from tachikoma.hypervisor.tart.records import Records
from tests.doubles.tart_double.store import Store

TART = Path(__file__).with_name("tart")
PUBLISHED = "ghcr.io/cirruslabs/ubuntu/latest"
_SSH = 22


def path_with_double() -> str:
    """A PATH on which the double is `tart`, and Python the one of these tests."""
    return os.pathsep.join((str(Path(sys.executable).parent), str(TART.parent), os.environ["PATH"]))


def world(home: Path, data: Path) -> Store:
    """Have a Tart whose registry, and whose local VM ``ubuntu``, are the image below ``data``."""
    store = Store({"HOME": str(home)})
    store.set(images=str(data / "images"), ip_poll_s=0.2)
    store.write(store.registry / PUBLISHED)
    store.make("ubuntu")
    return store


def tart_in(home: Path) -> Tart:
    """Join the engine of a user."""
    program = Program(environ={"HOME": str(home)}, tool=Processes())
    clock = SystemClock()
    addresses = Addresses(program=program, port=_SSH, leases=LEASES, reach=reach, now=clock.now)
    records = Records(directory=home / "tart")
    return Tart(program=program, records=records, addresses=addresses, clock=clock)


def why_no_tart() -> str:
    """Say why the double cannot run guests here; "" if it can."""
    if os.geteuid() != 0:
        return "Tart's double joins shared directories by mounts, which takes root"
    with socket.socket() as probe:
        try:
            probe.bind(("127.127.0.1", _SSH))
        except OSError as error:
            return f"Tart's double gives guests the port 22 of a loopback address: {error}"
    return ""
