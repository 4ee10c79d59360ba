from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tachikoma.cli import encode
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint, ImageInfo, VmState
from tachikoma.ssh.port import Login
from tachikoma.vm.provision.luggage import Carried
from tachikoma.vm.requests import (
    DestroyOutcome,
    HaltOutcome,
    How,
    ReachOutcome,
    SpawnOutcome,
    StatusOutcome,
    VmReport,
)

NAME = VmName("tachikoma-box-main")
LOGIN = Login(NAME, Endpoint("::1", 20022), "ada", Path("/key"), Path("/known"))
REPORT = VmReport(
    name=NAME,
    branch="main",
    repository=Path("/src/box/.git"),
    repository_name="box",
    worktree=Path("/src/box"),
    engine="synthetic",
    image="debian",
    state=VmState.RUNNING,
    cpus=4,
    memory_mib=8192,
    disk_bytes=1 << 20,
    created=1.5,
    last_used=2.5,
)
VM = {
    "name": "tachikoma-box-main",
    "branch": "main",
    "repository": "/src/box/.git",
    "repository_name": "box",
    "worktree": "/src/box",
    "engine": "synthetic",
    "image": "debian",
    "state": "running",
    "cpus": 4,
    "memory_mib": 8192,
    "disk_bytes": 1 << 20,
    "created": 1.5,
    "last_used": 2.5,
    "orphan": False,
}


def test_a_spawn() -> None:
    outcome = SpawnOutcome(
        name=NAME,
        repository=Path("/src/box/.git"),
        branch="main",
        worktree=Path("/src/box"),
        login=LOGIN,
        how=How.CREATED,
        steps=(("clone", 0.12345), ("start", 2.0)),
        carried=(Carried("GH_TOKEN", "sync_gh_auth", "gh"),),
    )
    assert encode.spawned(outcome, ["ssh", "vm"]) == {
        "name": "tachikoma-box-main",
        "branch": "main",
        "repository": "/src/box/.git",
        "worktree": "/src/box",
        "how": "created",
        "address": {"host": "::1", "port": 20022},
        "user": "ada",
        "ssh": ["ssh", "vm"],
        "steps": [{"name": "clone", "seconds": 0.123}, {"name": "start", "seconds": 2.0}],
        "carried": [{"name": "GH_TOKEN", "setting": "sync_gh_auth", "origin": "gh"}],
    }


def test_a_way_into_a_vm() -> None:
    outcome = ReachOutcome(NAME, "main", Path("/src/box"), LOGIN)
    assert encode.reached(outcome, ["ssh", "vm"]) == {
        "name": "tachikoma-box-main",
        "branch": "main",
        "worktree": "/src/box",
        "address": {"host": "::1", "port": 20022},
        "user": "ada",
        "ssh": ["ssh", "vm"],
    }


def test_a_halt_and_a_destroy() -> None:
    assert encode.halted(HaltOutcome(NAME, "main", was_running=True)) == {
        "name": "tachikoma-box-main",
        "branch": "main",
        "was_running": True,
    }
    assert encode.destroyed(DestroyOutcome(NAME, "", worktree=None)) == {
        "name": "tachikoma-box-main",
        "branch": "",
        "worktree": None,
    }


def test_a_vm_that_is_recorded_and_seen() -> None:
    assert encode.vm(REPORT) == VM


def test_what_nobody_knows_is_null() -> None:
    lost = replace(REPORT, repository=None, worktree=None, state=None, created=None, orphan=True)
    assert encode.vm(lost) == VM | {
        "repository": None,
        "worktree": None,
        "state": None,
        "created": None,
        "orphan": True,
    }


def test_a_vm_seen_closely() -> None:
    outcome = StatusOutcome(
        vm=REPORT,
        phase="stopped",
        address=None,
        mounts=(("code", Path("/src/box")),),
        log="/logs/console.log",
    )
    assert encode.status(outcome) == VM | {
        "phase": "stopped",
        "address": None,
        "mounts": [{"tag": "code", "path": "/src/box"}],
        "log": "/logs/console.log",
    }


def test_an_image() -> None:
    info = ImageInfo("debian", 5, 1.5, "sha256:ab", {"claude": "2.1"}, snapshot_bytes=7)
    assert encode.image(info) == {
        "name": "debian",
        "size_bytes": 5,
        "snapshot_bytes": 7,
        "created": 1.5,
        "digest": "sha256:ab",
        "contents": {"claude": "2.1"},
    }


def test_a_path_that_is_no_unicode_still_makes_json() -> None:
    data = encode.vm(replace(REPORT, worktree=Path("/src/\udcff")))
    assert json.loads(json.dumps(data))["worktree"] == "/src/\udcff"
