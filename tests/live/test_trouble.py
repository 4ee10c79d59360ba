"""What a user meets on a bad day: strange names, a full disk, missing programs, dead tokens."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import User
from tests.live.test_crash import Place

# Only the test itself is timed: the first one also waits for the image.
pytestmark = [pytest.mark.live, pytest.mark.timeout(60, func_only=True)]

SYNTHETIC = ("--hypervisor", "synthetic")
SOON_S = 30.0
LONG = "n" * 200
NASTY = "feature/ünï-cödé-" + "lang-" * 36


@pytest.fixture
def place(live_user: User) -> Place:
    return Place(live_user, live_user.repository())


def refused(user: User, *argv: str, cwd: Path, env: dict[str, str] | None = None) -> dict[str, str]:
    """Run what must fail, for a person and for a machine, and give the error."""
    told = user.run(*argv, cwd=cwd, env=env, status=1)
    ran = user.run(argv[0], "--json", *argv[1:], cwd=cwd, env=env, status=1)
    envelope = ran.json
    assert (envelope["version"], envelope["ok"], envelope["command"]) == (1, False, argv[0])
    error: dict[str, str] = envelope["error"]
    assert told.stdout == ""
    assert f"error: {error['message']}" in told.stderr
    assert error["hint"]
    assert f"hint: {error['hint']}" in told.stderr
    return error


@pytest.mark.parametrize(
    ("branch", "name"),
    [
        ("feature/ünï-cödé", "tachikoma-app-feature-uni-code"),
        ("日本", "tachikoma-app-cf2abf"),
        ("a/b", "tachikoma-app-a-b"),
        ("UPPER_case.1", "tachikoma-app-upper-case-1"),
        (LONG, None),
        ("it's;$(touch$IFS'pwned')", None),
    ],
)
def test_a_strange_branch_that_git_takes_gets_a_vm(
    place: Place, branch: str, name: str | None
) -> None:
    place.git("update-ref", f"refs/heads/{branch}", "HEAD")
    spawned = place.spawn(branch, *SYNTHETIC)
    assert spawned["branch"] == branch
    assert name is None or spawned["name"] == name
    assert len(spawned["name"]) <= 63
    head = place.git("-C", spawned["worktree"], "symbolic-ref", "HEAD")
    assert head == f"refs/heads/{branch}"
    assert place.spawn(branch, *SYNTHETIC)["name"] == spawned["name"]
    assert [vm["branch"] for vm in place.vms(*SYNTHETIC)] == [branch]


def test_two_branches_with_one_slug_are_two_vms_with_two_worktrees(place: Place) -> None:
    one, other = place.spawn("a/b", *SYNTHETIC), place.spawn("a-b", *SYNTHETIC)
    assert one["name"] == "tachikoma-app-a-b"
    assert other["name"].startswith("tachikoma-app-a-b-")
    assert one["worktree"] != other["worktree"]
    assert place.spawn("a-b", *SYNTHETIC)["name"] == other["name"]


@pytest.mark.parametrize("branch", ["x..y", "a b", "x.lock", "HEAD", "@", "a//b", "x~1", "", "-x"])
def test_what_git_does_not_take_as_a_branch_is_refused(place: Place, branch: str) -> None:
    error = refused(place.user, "spawn", *SYNTHETIC, "--", branch, cwd=place.code)
    assert error["code"] == "git.bad_branch_name"
    assert place.vms(*SYNTHETIC) == []
    assert len(place.git("worktree", "list").splitlines()) == 1


def test_a_name_too_long_for_the_disk_is_refused(place: Place) -> None:
    error = refused(place.user, "spawn", "n" * 300, *SYNTHETIC, cwd=place.code)
    assert error["code"].startswith("git.")
    assert place.vms(*SYNTHETIC) == []


def test_a_detached_head_is_no_branch(place: Place) -> None:
    place.git("checkout", "-q", "--detach")
    error = refused(place.user, "spawn", *SYNTHETIC, cwd=place.code)
    assert error["code"] == "git.detached_head"
    assert place.spawn("x", *SYNTHETIC)["branch"] == "x", "a named branch is fine"


def test_outside_of_a_repository_there_is_nothing_to_spawn(live_user: User) -> None:
    error = refused(live_user, "spawn", *SYNTHETIC, cwd=live_user.home)
    assert error["code"] == "git.no_repository"


@pytest.mark.parametrize("branch", [[], ["x"]])
def test_an_empty_repository_needs_a_first_commit(live_user: User, branch: list[str]) -> None:
    empty = live_user.home / "empty"
    live_user.run_any("git", "init", "-q", str(empty))
    error = refused(live_user, "spawn", *branch, *SYNTHETIC, cwd=empty)
    assert error["code"] == "git.empty_repository"


@pytest.mark.parametrize(
    ("content", "code"),
    [("{", "state.corrupt"), ("[]", "state.corrupt"), ('{"version": 99}', "state.too_new")],
)
def test_a_state_file_that_is_not_understood_stays_as_it_is(
    place: Place, content: str, code: str
) -> None:
    state = place.config / "state.json"
    state.write_text(content, encoding="utf-8")
    before = state.stat()
    try:
        for argv in (
            ("spawn", "x"),
            ("list",),
            ("destroy", "x", "--yes"),
            ("halt", "x"),
            ("status", "x"),
        ):
            assert refused(place.user, *argv, cwd=place.code)["code"] == code
        assert state.read_text(encoding="utf-8") == content
        assert state.stat().st_mtime_ns == before.st_mtime_ns
    finally:
        state.unlink()


def test_a_full_disk_is_told_and_nothing_is_left(place: Place) -> None:
    vms = place.data / "vms"
    with small_disk(vms):
        error = refused(place.user, "spawn", "x", cwd=place.code)
        assert error["code"] == "host.disk_full"
        assert list(vms.iterdir()) == []
    assert place.vms() == []
    assert place.user.processes() == {}
    state = json.loads((place.config / "state.json").read_bytes())
    assert state["vms"] == {}


def test_without_qemu_the_package_is_named(place: Place, tmp_path: Path) -> None:
    for program in ("git", "ssh", "ssh-keygen", "sh", "socat", "newuidmap", "newgidmap"):
        if (real := shutil.which(program)) is not None:
            (tmp_path / program).symlink_to(real)
    env = {"PATH": str(tmp_path)}
    error = refused(place.user, "spawn", "x", cwd=place.code, env=env)
    assert error["code"] == "hypervisor.missing"
    assert "install the package qemu-" in error["hint"]
    assert place.vms() == []
    doctor = place.user.run("doctor", env=env, status=1)
    assert "qemu-system" in doctor.stdout
    assert place.user.run("doctor", "--json", env=env, status=1).json["data"]["ready"] is False


@pytest.mark.live_qemu
@pytest.mark.timeout(180)
def test_the_nastiest_name_works_in_a_real_vm(live_user: User) -> None:
    place = Place(live_user, live_user.repository("""it's "my" app"""))
    spawned = place.spawn(NASTY)
    worktree = spawned["worktree"]
    assert """it's "my" app-feature-uni-code-lang""" in worktree
    script = 'pwd; echo $TACHIKOMA_BRANCH; git branch --show-current; printf "%s|" "$@"'
    told = place.in_vm(NASTY, "sh", "-c", script, "-", "a b", "'", '"')
    assert told.split("\n") == [worktree, NASTY, NASTY, """a b|'|"|"""]
    place.git_works(NASTY)
    (Path(worktree) / "from the host").touch()
    assert place.in_vm(NASTY, "git", "status", "--porcelain") == '?? "from the host"'
    by_name = live_user.run("exec", spawned["name"], "--", "pwd")
    assert by_name.stdout.strip() == worktree


@pytest.mark.live_qemu
@pytest.mark.timeout(180)
def test_only_the_token_of_a_living_vm_passes_the_proxy(place: Place) -> None:
    place.spawn("x")
    told = place.in_vm("x", "sh", "-c", "echo $ANTHROPIC_API_KEY $ANTHROPIC_BASE_URL")
    token, url = told.split()
    port = url.rpartition(":")[2]
    assert ask(int(port), token) != http.client.UNAUTHORIZED
    seen = len(place.user.api_requests())
    assert seen > 0

    place.user.run("destroy", "x", "--force", cwd=place.code)
    for bad in (token, "", f"{token}x", "tachikoma-", place.user.secret):
        assert ask(int(port), bad) == http.client.UNAUTHORIZED
    assert len(place.user.api_requests()) == seen


def ask(port: int, token: str) -> int:
    """Ask the proxy as a VM does, and give the status of its answer."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=SOON_S)
    headers = {"content-type": "application/json"} | ({"x-api-key": token} if token else {})
    body: dict[str, Any] = {"model": "m", "max_tokens": 1, "messages": []}
    try:
        line.request("POST", "/v1/messages", json.dumps(body), headers)
        return line.getresponse().status
    finally:
        line.close()


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """Have a file system at ``place`` that has no room for the disk of a VM."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    place.mkdir(mode=0o700)
    argv = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(place)]
    mounted = subprocess.run(argv, capture_output=True, text=True, timeout=SOON_S, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], timeout=SOON_S, check=True)
