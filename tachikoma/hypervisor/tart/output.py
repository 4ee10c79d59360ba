"""What Tart answers, decoded (pure)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tachikoma.model.errors import HypervisorError
from tachikoma.model.vm import VmState

LEAST_VERSION = (2, 31, 0)

_GB = 1_000_000_000
_STATES = {
    "running": VmState.RUNNING,
    "stopped": VmState.STOPPED,
    "suspended": VmState.SUSPENDED,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of `tart list`; ``remote`` ones are images from a registry."""

    name: str
    remote: bool
    size_bytes: int
    accessed: float
    state: VmState

    @property
    def by_digest(self) -> bool:
        """Whether it is the second line of an image that has a line by its tag as well."""
        return self.remote and "@sha256:" in self.name


@dataclass(frozen=True, slots=True)
class Described:
    """What `tart get` says about a VM."""

    cpus: int
    memory_mib: int
    size_bytes: int
    state: VmState


def decode_version(said: str) -> tuple[int, ...] | None:
    """Give the version as numbers; None for a build without one, such as ``SNAPSHOT``.

    Raises:
        HypervisorError: it is no version.
    """
    text = said.strip()
    if text == "SNAPSHOT":
        return None
    if re.fullmatch(r"\d+(\.\d+)+", text) is None:
        raise HypervisorError(
            f"`tart --version` says {text[:60]!r}, which is no version of Tart",
            hint="see whether another program named tart comes first on PATH: `which -a tart`",
        )
    return tuple(int(part) for part in text.split("."))


def decode_list(said: str) -> list[Entry]:
    """Give what `tart list` says.

    Raises:
        HypervisorError: it is not what Tart says.
    """
    try:
        return [_entry(raw) for raw in json.loads(said)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _strange("list", said) from error


def decode_get(said: str) -> Described:
    """Give what `tart get` says.

    Raises:
        HypervisorError: it is not what Tart says.
    """
    try:
        raw = json.loads(said)
        return Described(
            cpus=int(raw["CPU"]),
            memory_mib=int(raw["Memory"]),
            size_bytes=round(float(raw["Size"]) * _GB),
            state=_state(raw["State"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _strange("get", said) from error


def decode_percent(line: str) -> float | None:
    """Give how much of a pull or push is done, if ``line`` says so, as 0..1."""
    found = re.fullmatch(r"(\d{1,3})%", line.strip())
    return None if found is None else min(int(found[1]), 100) / 100


def _entry(raw: dict[str, Any]) -> Entry:
    accessed = raw.get("Accessed")
    return Entry(
        name=str(raw["Name"]),
        remote=raw["Source"] == "OCI",
        size_bytes=int(raw["Size"]) * _GB,
        accessed=datetime.fromisoformat(accessed).timestamp() if accessed else 0.0,
        state=_state(raw["State"]),
    )


def _state(raw: str) -> VmState:
    return _STATES.get(raw, VmState.UNKNOWN)


def _strange(command: str, said: str) -> HypervisorError:
    return HypervisorError(
        f"`tart {command}` gives an answer that tachikoma does not understand",
        hint="this version of Tart may be too new; `tachikoma doctor` names it",
        details=said[:500],
    )
