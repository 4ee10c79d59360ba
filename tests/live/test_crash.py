"""Whatever is killed at whatever moment: the next command finds its way."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import User

pytestmark = pytest.mark.live_qemu

SOON_S = 30.0
SPAWNED_S = 150.0
_PAUSE_S = 0.002


@dataclass(frozen=True, slots=True)
class Place:
    """A repository of a user, and what can be seen of the VMs of its branches."""

    user: User
    code: Path

    @property
    def config(self) -> Path:
        return self.user.home / ".config" / "tachikoma"

    @property
    def data(self) -> Path:
        return self.user.home / ".local" / "share" / "tachikoma"

    def spawn(self, branch: str, *more: str) -> Any:
        """Spawn to the end and give what it says."""
        ran = self.user.run("spawn", branch, "--no-interactive", "--json", *more, cwd=self.code)
        return ran.json["data"]

    def vms(self, *more: str) -> list[dict[str, Any]]:
        vms: list[dict[str, Any]] = self.user.run("list", "--json", *more).json["data"]["vms"]
        return vms

    def run_file(self, vm: str) -> Path:
        return self.data / "vms" / vm / "run.json"

    def running(self, vm: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run_file(vm).read_bytes())
        return found

    def locks(self) -> list[str]:
        return [path.name for path in (self.config / "locks").glob("tachikoma-*.lock")]

    def programs(self, name: str) -> list[int]:
        """The processes of the user that run ``name``."""
        found = self.user.processes().items()
        return [pid for pid, command in found if Path(command.split(" ", 1)[0]).name == name]

    def in_vm(self, branch: str, *argv: str) -> str:
        return self.user.run("exec", branch, "--", *argv, cwd=self.code).stdout.strip()

    def sets_up_when_told(self) -> None:
        """Have a provision script that waits for a file: it can be killed while it runs."""
        script = self.user.home / "slow"
        wait = "while ! [ -e go-on ]; do sleep 0.1; done"
        script.write_text(f"#!/bin/sh\n{wait}\n", encoding="utf-8")
        with (self.config / "config.toml").open("a", encoding="utf-8") as config:
            config.write(f'provision_scripts = ["{script}"]\n')

    def worktree(self, branch: str) -> Path:
        listed = self.git("worktree", "list", "--porcelain").split("\n\n")
        (found,) = [each for each in listed if f"branch refs/heads/{branch}" in each.splitlines()]
        return Path(found.splitlines()[0].removeprefix("worktree "))

    def git_works(self, branch: str) -> None:
        """Commit in the VM and see it on the host."""
        commit = "git commit --allow-empty -q -m 'From inside' && git rev-parse HEAD"
        inside = self.in_vm(branch, "sh", "-c", f"{commit} && git status --porcelain")
        assert self.git("rev-parse", branch) == inside

    def git(self, *argv: str) -> str:
        return self.user.run_any("git", "-C", str(self.code), *argv).stdout.strip()

    def is_one_sound_vm(self, vm: str) -> None:
        """One record, one QEMU with the daemons of its shares, no lock."""
        ((name, state),) = [(each["name"], each["state"]) for each in self.vms()]
        assert (name, state) == (vm, "running")
        run = self.running(vm)
        assert self.programs("qemu-system-x86_64") == [run["qemu"]["pid"]]
        daemons = {daemon["pid"] for daemon in run["daemons"]}
        assert len(daemons) == 2
        assert all(daemons & {pid, _parent(pid)} for pid in self.programs("virtiofsd"))
        assert self.locks() == []

    def is_empty(self) -> None:
        """No VM has left a process, a file, a token or an entry."""
        assert self.vms() == []
        assert json.loads((self.config / "state.json").read_bytes())["vms"] == {}
        assert list((self.data / "vms").iterdir()) == []
        assert list((self.config / "known_hosts").iterdir()) == []
        assert self.locks() == []
        runtime = Path(self.user.environ["XDG_RUNTIME_DIR"])
        assert [path for path in runtime.rglob("*") if not path.is_dir()] == []
        assert list(runtime.glob("*/*")) == []
        left = set(self.user.processes().values())
        assert left <= {"the credential proxy"}


@pytest.fixture
def place(live_user: User) -> Place:
    code = live_user.repository()
    (code / "file").write_text("text\n", encoding="utf-8")
    made = Place(live_user, code)
    made.git("add", "file")
    made.git("commit", "-q", "-m", "A file")
    return made


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_worktree_whose_making_was_killed_at_any_command_is_completed(
    place: Place, tmp_path: Path, moment: str
) -> None:
    synthetic = ("--hypervisor", "synthetic")
    for count in range(1, 30):
        branch = f"b{count}"
        with _deadly("git", tmp_path / branch, moment, count) as path:
            ran = place.user.run(
                *("spawn", branch, "--no-interactive", *synthetic),
                cwd=place.code,
                env={"PATH": path},
                status=None,
            )
        if ran.status == 0:
            break
        assert ran.status == -signal.SIGKILL, ran
        spawned = place.spawn(branch, *synthetic)
        worktree = Path(spawned["worktree"])
        assert (worktree / "file").read_text(encoding="utf-8") == "text\n"
        assert place.git("-C", str(worktree), "status", "--porcelain") == ""
    else:
        raise AssertionError("a spawn never ends")
    assert count > 5, "there are more commands than that to be killed at"
    made = sorted(f"b{number}" for number in range(1, count + 1))
    assert sorted(vm["branch"] for vm in place.vms(*synthetic)) == made
    listed = [line.split()[-1] for line in place.git("worktree", "list").splitlines()]
    assert sorted(listed) == sorted(f"[{branch}]" for branch in [*made, "main"])
    assert place.locks() == []


def test_a_spawn_killed_at_any_step_is_taken_up_by_the_next(place: Place, tmp_path: Path) -> None:
    vm = "tachikoma-app-x"
    for moment in ("before", "after"):
        with (
            _deadly("qemu-img", tmp_path / moment, moment, 1) as path,
            _spawning(place, "x", PATH=path) as spawn,
        ):
            assert spawn.wait(SOON_S) == -signal.SIGKILL
    _kill_at_line(place, "clone: done")
    for begun in (
        lambda: "launch.py" in " ".join(place.user.processes().values()),
        place.run_file(vm).exists,
    ):
        with _spawning(place, "x") as spawn:
            _until(begun)
            spawn.kill()
        place.user.run("halt", "x", "--force", cwd=place.code)
        assert set(place.user.processes().values()) <= {"the credential proxy"}
        assert not place.run_file(vm).exists()
    _kill_at_line(place, "start: Starting the VM")
    _kill_at_line(place, "start: done")
    place.user.run("halt", "x", "--force", cwd=place.code)  # so that it boots, and not at once
    place.sets_up_when_told()
    for line in ("await: Booting", "await: done", "  mounts", "  script "):
        _kill_at_line(place, line)
    go_on = place.worktree("x") / "go-on"
    argv = ("spawn", "x", "--no-interactive", "--json", "-v")
    with place.user.started(*argv, cwd=place.code) as last:
        _await_line(last, "  script ")
        go_on.touch()
        told, _ = last.communicate(timeout=SPAWNED_S)
    spawned = json.loads(told)["data"]
    assert (spawned["name"], spawned["how"]) == (vm, "provisioned")
    go_on.unlink()
    place.is_one_sound_vm(vm)
    place.git_works("x")
    assert place.spawn("x")["how"] == "reconnected"


def test_after_a_kill_of_qemu_the_vm_is_stopped_and_can_be_started_and_destroyed(
    place: Place,
) -> None:
    spawned = place.spawn("x")
    vm, worktree = spawned["name"], Path(spawned["worktree"])
    os.kill(place.running(vm)["qemu"]["pid"], signal.SIGKILL)
    _until(lambda: place.programs("virtiofsd") == [])
    assert [each["state"] for each in place.vms()] == ["stopped"]
    assert place.spawn("x")["how"] == "started"
    place.is_one_sound_vm(vm)
    place.git_works("x")

    _kill_at_line(place, "stop: Stopping the VM", "destroy", "x", "--yes")
    state = json.loads((place.config / "state.json").read_bytes())
    assert state["vms"][vm]["token_hashes"] == [], "the token dies first"
    _kill_at_line(place, "delete: Deleting the VM", "destroy", "x", "--yes")
    place.user.run("destroy", "x", "--yes", cwd=place.code)
    place.is_empty()
    assert (worktree / "file").exists()
    assert place.git("rev-parse", "--verify", "x")


def test_a_vm_that_lost_a_share_hangs_nobody_and_is_healed_by_halting_it(place: Place) -> None:
    vm = place.spawn("x")["name"]
    os.kill(place.running(vm)["daemons"][0]["pid"], signal.SIGKILL)
    status = place.user.run("status", "x", "--json", cwd=place.code, deadline_s=SOON_S)
    assert status.json["data"]["vm"]["state"] == "running"
    place.user.run("spawn", "x", "--no-interactive", cwd=place.code, deadline_s=SOON_S)

    _kill_at_line(place, "stop: Stopping the VM", "halt", "x")
    place.user.run("halt", "x", "--force", cwd=place.code)  # the guest cannot sync any more
    assert [each["state"] for each in place.vms()] == ["stopped"]
    assert place.spawn("x")["how"] == "started"
    place.is_one_sound_vm(vm)
    place.git_works("x")


def test_two_terminals_make_one_vm_of_a_branch_and_two_of_two(place: Place) -> None:
    with (
        _spawning(place, "x") as one,
        _spawning(place, "x") as other,
        _spawning(place, "y") as third,
    ):
        for process in (one, other, third):
            _, said = process.communicate(timeout=SPAWNED_S)
            assert process.returncode == 0, said.decode()
    vms = {each["branch"]: each["name"] for each in place.vms()}
    assert vms == {"x": "tachikoma-app-x", "y": "tachikoma-app-y"}
    qemus = {place.running(vm)["qemu"]["pid"] for vm in vms.values()}
    assert set(place.programs("qemu-system-x86_64")) == qemus
    assert len(qemus) == 2
    place.git_works("x")
    place.git_works("y")
    worktrees = [place.git("worktree", "list")]
    for vm in vms.values():
        place.user.run("destroy", vm, "--force")
    place.is_empty()
    assert [place.git("worktree", "list")] == worktrees


@contextlib.contextmanager
def _deadly(program: str, directory: Path, moment: str, count: int) -> Iterator[str]:
    """A PATH on which the ``count``-th call of ``program`` kills its caller."""
    directory.mkdir()
    real = shutil.which(program)
    assert real is not None
    calls = shlex.quote(str(directory / "calls"))
    kill = f"[ $(wc -l <{calls}) -ne {count} ] || {{ kill -9 $PPID; exit 1; }}"
    run = f'{shlex.quote(real)} "$@"; status=$?'
    lines = [kill, run] if moment == "before" else [run, kill]
    script = directory / program
    script.write_text("\n".join(["#!/bin/sh", f"echo >>{calls}", *lines, "exit $status", ""]))
    script.chmod(0o755)
    yield f"{directory}:{os.environ['PATH']}"


@contextlib.contextmanager
def _spawning(place: Place, branch: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = ("spawn", branch, "--no-interactive", "-v")
    with place.user.started(*argv, cwd=place.code, env=env) as process:
        yield process


def _kill_at_line(place: Place, line: str, *argv: str) -> None:
    """Kill a command as soon as it says something that begins with ``line``."""
    command = argv or ("spawn", "x", "--no-interactive")
    with place.user.started(*command, "-v", cwd=place.code) as process:
        _await_line(process, line)
        process.kill()
        assert process.wait(SOON_S) == -signal.SIGKILL


def _await_line(process: subprocess.Popen[bytes], beginning: str) -> None:
    assert process.stderr is not None
    said = []
    for raw in process.stderr:
        said.append(raw.decode())
        if said[-1].startswith(beginning):
            return
    raise AssertionError(f"{beginning!r} is not in: {''.join(said)}")


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(_PAUSE_S)


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[1])
    return 0
