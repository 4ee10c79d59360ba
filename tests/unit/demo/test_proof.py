from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tachikoma.demo import proof
from tachikoma.demo.proof import Check, committed, credential_added, nothing_left, proxied
from tachikoma.git.memory import MemoryGit
from tachikoma.model.events import silent
from tachikoma.model.names import VmName
from tachikoma.offline.demo import FILE, LINE, SUBJECT
from tachikoma.offline.server import Seen
from tachikoma.proxy import ledger
from tachikoma.proxy.ledger import Entry, Verdict
from tachikoma.runtime import Runtime
from tachikoma.ssh.memory import Answer, Asked
from tachikoma.synthetic import SyntheticShell
from tachikoma.vm.requests import DestroyRequest, SpawnOutcome, SpawnRequest, Target
from tests.doubles.real_git import commit, git, new_repository

VM = VmName("tachikoma-scratch-demo")
SECRET, TOKEN = "5ec7e7", "70ce4"


# The commit


@pytest.mark.live
async def test_the_agents_commit_of_its_line_is_proof(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "scratch")
    before = commit(place, FILE, "# Notes\n")
    (place / FILE).write_text(f"# Notes\n{LINE}\n")
    git(place, "commit", "-q", "-a", "-m", SUBJECT)
    check = await committed(place, before)
    assert check.holds
    assert check.evidence[0].endswith(f" Motoko Kusanagi: {SUBJECT}")
    assert any(FILE in line for line in check.evidence)


@pytest.mark.live
@pytest.mark.parametrize("how", ["nothing", "another line", "not committed", "left over"])
async def test_anything_less_is_no_proof(tmp_path: Path, how: str) -> None:
    place = new_repository(tmp_path / "scratch")
    before = commit(place, FILE, "# Notes\n")
    if how == "another line":
        commit(place, FILE, "# Notes\nsomething\n")
    if how == "not committed":
        (place / FILE).write_text(f"# Notes\n{LINE}\n")
    if how == "left over":
        commit(place, FILE, f"# Notes\n{LINE}\n")
        (place / "new").write_text("not committed")
    assert not (await committed(place, before)).holds


# The requests


def entry(*, vm: str = VM, status: int = 200, verdict: Verdict = Verdict.FORWARDED) -> Entry:
    return Entry(
        at=1.0,
        began=1.0,
        method="POST",
        path="/v1/messages?beta=true",
        vm=vm,
        status=status,
        sent=512,
        duration_s=0.25,
        verdict=verdict,
    )


def recorded(tmp_path: Path, *entries: Entry) -> Check:
    log = tmp_path / "requests.jsonl"
    log.write_bytes(b"".join(ledger.line(each) for each in entries))
    return proxied(log, VM)


def test_two_forwarded_calls_of_the_vm_are_proof(tmp_path: Path) -> None:
    check = recorded(tmp_path, entry(), entry(vm="tachikoma-other"), entry())
    assert check.holds
    assert check.evidence == ("POST /v1/messages  200  512 bytes  250 ms",) * 2


def test_calls_of_others_and_refused_ones_do_not_count(tmp_path: Path) -> None:
    check = recorded(
        tmp_path,
        entry(),
        entry(vm="tachikoma-other"),
        entry(status=529),
        entry(status=401, verdict=Verdict.DENIED),
    )
    assert not check.holds
    assert len(check.evidence) == 3


def test_a_proxy_that_recorded_nothing_is_no_proof(tmp_path: Path) -> None:
    check = proxied(tmp_path / "missing.jsonl", VM)
    assert (check.holds, check.evidence) == (False, ())


# The credential


def seen(sha256: str, *, method: str = "POST", status: int = 200) -> Seen:
    return Seen(method, "/v1/messages", status, "x-api-key", sha256)


def test_the_hosts_credential_at_every_call_is_proof() -> None:
    check = credential_added([seen(SECRET), seen("", method="HEAD"), seen(SECRET)], SECRET, TOKEN)
    assert check.holds
    assert check.evidence == ("2 of 2 model calls carried the host's credential",)


@pytest.mark.parametrize(
    "requests",
    [
        [],
        [seen(TOKEN)],
        [seen(SECRET), seen(TOKEN)],
        [seen(SECRET), seen("")],
        [seen(SECRET), seen(SECRET, status=401)],
    ],
)
def test_another_credential_or_none_is_no_proof(requests: list[Seen]) -> None:
    assert not credential_added(requests, SECRET, TOKEN).holds


def test_the_search_knows_credentials_and_not_the_vms_own_token() -> None:
    looks = re.compile(proof._CREDENTIAL)
    for kind in ("api03", "oat01", "ort01", "admin01"):
        assert looks.search(f"KEY=sk-ant-{kind}-{secrets.token_urlsafe(48)}\n")
    assert not looks.search(f"tachikoma-{secrets.token_urlsafe(32)}")
    assert not looks.search("sk-ant-api03-short")


# The VM


@pytest.fixture
async def runtime(own_home: Path) -> Runtime:
    """Give the real parts over synthetic VMs, with a repository in memory."""
    made = Runtime(environ={"HOME": str(own_home)}, cwd=own_home, hypervisor="synthetic")
    git = MemoryGit()
    git.add_repository(own_home)
    made.__dict__["git"] = git
    await made.load_settings()
    return made


async def spawned(runtime: Runtime) -> SpawnOutcome:
    return await runtime.orchestrator.spawn(SpawnRequest(runtime.cwd, "demo"), silent)


def answering(runtime: Runtime, respond: Callable[[Asked], Answer]) -> None:
    """Let the VMs of ``runtime`` answer commands with ``respond``."""
    assert isinstance(runtime.shell, SyntheticShell)
    runtime.shell.respond = respond


async def test_a_search_that_finds_nothing_is_proof(runtime: Runtime) -> None:
    vm = await spawned(runtime)
    asked: list[Asked] = []

    def respond(command: Asked) -> Answer:
        asked.append(command)
        return Answer(0, b"90 files and 9 processes searched\n")

    answering(runtime, respond)
    check = await proof.no_credential_inside(runtime, vm)
    assert (check.holds, check.evidence) == (True, ("90 files and 9 processes searched",))
    assert [command.argv[:3] for command in asked] == [("sudo", "sh", "-c")]


async def test_a_search_that_finds_something_names_it(runtime: Runtime) -> None:
    vm = await spawned(runtime)
    found = Answer(1, b"90 files and 9 processes searched\n/home/admin/.key\n")
    answering(runtime, lambda _: found)
    check = await proof.no_credential_inside(runtime, vm)
    assert not check.holds
    assert check.evidence[1] == "/home/admin/.key"


async def test_a_destroyed_vm_whose_token_is_refused_is_gone(runtime: Runtime) -> None:
    vm = await spawned(runtime)
    standing = await nothing_left(runtime, vm, 401)
    assert (standing.holds, standing.evidence[:2]) == (
        False,
        ("virtual machines of that name: 1", "record: still there"),
    )
    request = DestroyRequest(Target(runtime.cwd, "demo"), force=True)
    await runtime.orchestrator.destroy(request, silent)
    assert not (await nothing_left(runtime, vm, 200)).holds
    gone = await nothing_left(runtime, vm, 401)
    assert gone == Check(
        "the VM is gone",
        holds=True,
        evidence=(
            "virtual machines of that name: 0",
            "record: gone",
            "the proxy's answer to its token: 401",
        ),
    )
