"""What outcomes look like to a machine: plain data for the envelope (pure).

Paths and names are text, times seconds since the epoch, sizes bytes, memory MiB. These shapes
are a promise: a field may be added, none changed or removed, without a new envelope version.
"""

from __future__ import annotations

from pathlib import Path

from tachikoma.model.vm import Endpoint, ImageInfo
from tachikoma.vm.requests import (
    DestroyOutcome,
    HaltOutcome,
    ReachOutcome,
    SpawnOutcome,
    StatusOutcome,
    VmReport,
)

Data = dict[str, object]


def path(value: Path | None) -> str | None:
    """Give a path as text."""
    return None if value is None else str(value)


def endpoint(value: Endpoint | None) -> Data | None:
    """Give a TCP endpoint."""
    return None if value is None else {"host": value.host, "port": value.port}


def spawned(outcome: SpawnOutcome, ssh: list[str]) -> Data:
    """Give the outcome of a spawn; ``ssh`` is the argv that goes into the VM."""
    return {
        "name": outcome.name,
        "branch": outcome.branch,
        "repository": path(outcome.repository),
        "worktree": path(outcome.worktree),
        "how": outcome.how.value,
        "address": endpoint(outcome.login.endpoint),
        "user": outcome.login.user,
        "ssh": ssh,
        "steps": [{"name": name, "seconds": round(spent, 3)} for name, spent in outcome.steps],
        "carried": [
            {"name": each.name, "setting": each.setting, "origin": each.origin}
            for each in outcome.carried
        ],
    }


def reached(outcome: ReachOutcome, ssh: list[str]) -> Data:
    """Give how to get into a running VM."""
    return {
        "name": outcome.name,
        "branch": outcome.branch,
        "worktree": path(outcome.worktree),
        "address": endpoint(outcome.login.endpoint),
        "user": outcome.login.user,
        "ssh": ssh,
    }


def halted(outcome: HaltOutcome) -> Data:
    """Give the outcome of a halt."""
    return {"name": outcome.name, "branch": outcome.branch, "was_running": outcome.was_running}


def destroyed(outcome: DestroyOutcome) -> Data:
    """Give the outcome of a destroy."""
    return {
        "name": outcome.name,
        "branch": outcome.branch,
        "worktree": path(outcome.worktree),
    }


def vm(report: VmReport) -> Data:
    """Give one VM."""
    return {
        "name": report.name,
        "branch": report.branch,
        "repository": path(report.repository),
        "repository_name": report.repository_name,
        "worktree": path(report.worktree),
        "engine": report.engine,
        "image": report.image,
        "state": None if report.state is None else report.state.value,
        "cpus": report.cpus,
        "memory_mib": report.memory_mib,
        "disk_bytes": report.disk_bytes,
        "created": report.created,
        "last_used": report.last_used,
        "orphan": report.orphan,
    }


def status(outcome: StatusOutcome) -> Data:
    """Give one VM seen closely."""
    return {
        **vm(outcome.vm),
        "phase": outcome.phase,
        "address": endpoint(outcome.address),
        "mounts": [{"tag": tag, "path": str(where)} for tag, where in outcome.mounts],
        "log": outcome.log,
    }


def image(info: ImageInfo) -> Data:
    """Give one base image."""
    return {
        "name": info.name,
        "size_bytes": info.size_bytes,
        "snapshot_bytes": info.snapshot_bytes,
        "created": info.created,
        "digest": info.digest,
        "contents": dict(info.contents),
    }
