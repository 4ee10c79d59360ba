"""What was said about a VM: while it was set up, on its console, and by the credential proxy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tachikoma.host.tail import Tail
from tachikoma.model.names import VmName
from tachikoma.runtime import Runtime

SourceName = Literal["setup", "console", "proxy"]


@dataclass(frozen=True, slots=True)
class Source:
    """One log: what it is called, where it is, and its lines about the VM."""

    name: SourceName
    path: Path
    tail: Tail


def sources(runtime: Runtime, vm: VmName, console: str) -> list[Source]:
    """Give the logs of ``vm``; ``console`` is where its engine writes that."""
    setup, requests = runtime.journal.path(vm), runtime.proxy_plan().requests_file
    return [
        Source("setup", setup, Tail(setup)),
        Source("console", Path(console), Tail(Path(console))),
        Source("proxy", requests, Tail(requests, wanted=lambda line: is_of(vm, line))),
    ]


def last_lines(source: Source, count: int) -> list[str]:
    """Give the last lines of a log, the one that has no end yet among them.

    Raises:
        HostError: it is there and cannot be read.
    """
    return [*source.tail.last(count), *source.tail.rest()][-count:]


def is_of(vm: VmName, line: str) -> bool:
    """Tell whether a line of the proxy's log, which is about all VMs, is about ``vm``."""
    if vm not in line:  # decoding each line of a long log takes long
        return False
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and entry.get("vm") == vm
